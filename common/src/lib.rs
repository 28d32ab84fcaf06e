//! The vocabulary of Build Swarm: identifiers, states and wire types.
//!
//! There is no policy here, and no I/O. Rules about the queue, scheduling, healing or failure belong
//! to `swarm-core`.

pub mod causes;
pub mod cpv;
pub mod digest;
pub mod exit;
pub mod fingerprint;
pub mod id;
pub mod name;
pub mod secret;
pub mod state;
pub mod time;
pub mod wire;
