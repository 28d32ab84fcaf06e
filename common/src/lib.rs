//! What every part of Build Swarm shares: identifiers, states, wire types,
//! configuration loading, package formats and the HTTP client.
//!
//! No policy lives here. A rule about the queue, scheduling, healing or failure
//! belongs to `swarm-core`.

pub mod blocker;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "config")]
pub mod config;
pub mod cpv;
pub mod digest;
pub mod fingerprint;
#[cfg(feature = "format")]
pub mod format;
pub mod id;
pub mod name;
pub mod portage_settings;
pub mod secret;
pub mod sonames;
pub mod state;
#[cfg(feature = "service")]
pub mod supervisor;
#[cfg(feature = "service")]
pub mod telemetry;
pub mod time;
pub mod wire;
