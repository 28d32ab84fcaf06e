//! Machines with a real init, in namespaces: the real systemd or the real OpenRC starts, watches,
//! reloads and stops the real programs by the service files of this repository.
//!
//! It takes root, namespaces and overlayfs. Where one of them is missing the tests fail and say so.

pub mod machine;
pub mod swarm;
