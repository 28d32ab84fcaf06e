//! The orchestrator: the shell around `swarm-core`. It brings commands to the engine,
//! keeps the journal, stores, signs and publishes package files, and speaks HTTP.
//!
//! No rule about packages, drones or runs lives here; handlers and passes reach the
//! state only through the engine's handle.

pub mod artifact;
pub mod engine;
pub mod http;
pub mod journal;
pub mod publish;
pub mod sign;
pub mod state_dir;
