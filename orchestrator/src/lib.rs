//! The orchestrator: the shell around `swarm-core`. It passes commands to the engine, keeps the
//! journal, stores, signs and publishes package files, and serves HTTP.
//!
//! Rules about packages, drones and runs belong in the core. Handlers and passes access the state
//! only through the engine's handle.
//!
//! [`app`] is the state that all parts share, [`server`] assembles them, and [`http`] is the API.
//! [`receiving`] accepts package files; [`collisions`] and [`sonames`] check them against others; [`nix`]
//! reads those of Nix.
//! The passes are [`publisher`], [`calendar`], [`healer`], [`notify`], [`pass_leftovers`] and
//! [`pass_scrub`]; [`passes`] records their results. [`audit`] verifies everything that is stored.

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
pub mod nix;
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
