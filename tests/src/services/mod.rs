//! Machines with a real init in namespaces: the real systemd or OpenRC starts, watches, reloads and stops the
//! real programs with the service files of this repository.
//!
//! Requires root, namespaces and overlayfs. If one of them is missing, the tests fail and say so.

pub mod machine;
pub mod swarm;
