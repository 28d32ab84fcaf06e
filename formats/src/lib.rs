//! Readers and writers of package formats.
//!
//! Nothing here knows about the swarm: no policy, no clock, no network. Readers treat their
//! input as hostile: memory is bounded whatever the input claims, and bad input is a typed
//! error, never a panic.

pub mod archive;
pub mod image;
pub mod nix;
pub mod portage;
pub mod snapshot;
