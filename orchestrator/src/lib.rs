//! The orchestrator: the shell around `swarm-core`. It brings commands to the engine,
//! keeps the journal, stores, signs and publishes package files, and speaks HTTP.
//!
//! No rule about packages, drones or runs lives here; handlers and passes reach the
//! state only through the engine's handle.
//!
//! [`app`] is what all parts share, [`server`] puts it together. [`http`] is the API, [`receiving`] the way of a
//! package file in, [`collisions`] and [`sonames`] what it is beside others, [`publisher`], [`calendar`], [`healer`], [`notify`], [`pass_leftovers`] and
//! [`pass_scrub`] the passes, [`passes`] what they did, [`audit`] whether what is kept is whole.

pub mod app;
mod archives;
pub mod artifact;
pub mod audit;
pub mod calendar;
pub mod checks;
pub mod collisions;
pub mod config;
pub mod engine;
pub mod healer;
pub mod http;
pub mod images;
pub mod journal;
pub mod logs;
pub mod metrics;
pub mod notify;
pub mod pass_leftovers;
pub mod pass_scrub;
pub mod passes;
pub mod publish;
pub mod publisher;
mod random;
pub mod receiving;
pub mod reload;
pub mod server;
pub mod sign;
pub mod snapshots;
pub mod sonames;
pub mod state_dir;
pub mod tls;
pub mod vanished;
pub mod watchdog;
