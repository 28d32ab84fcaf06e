//! The shared parts of Build Swarm: identifiers, states, wire types, configuration loading, package
//! formats and the HTTP client.
//!
//! There is no policy here. Rules about the queue, scheduling, healing or failure belong to
//! `swarm-core`.

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
pub mod locked;
pub mod man;
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
pub mod version;
pub mod wire;
