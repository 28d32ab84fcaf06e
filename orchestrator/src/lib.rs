//! The orchestrator: the shell around `swarm-core`. It passes commands to the engine, keeps the
//! journal, stores, signs and publishes package files, and serves HTTP.
//!
//! Rules about packages, drones and runs belong in the core. Handlers and passes access the state
//! only through the engine's handle.
//!
//! [`app`] is the state that all parts share, [`server`] assembles them, and [`http`] is the API. [`intake`]
//! accepts package files, [`store`] keeps them, [`sign`] signs them, [`publish`] lays them out for clients, and
//! [`serve`] sends them; [`nix`] reads Nix archives. [`passes`] repeatedly compare the state with the outside
//! world and fix differences. [`sink`] sends notifications; [`audit`] verifies everything that is stored.

pub mod app;
pub mod audit;
pub mod config;
mod connection_limits;
pub mod engine;
pub mod http;
pub mod intake;
pub mod journal;
pub mod kinds;
pub mod logs;
pub mod metrics;
pub mod missing_state;
pub mod nix;
pub mod own_record;
pub mod passes;
pub mod publish;
mod random;
pub mod rejection;
pub mod serve;
pub mod server;
pub mod sign;
pub mod sink;
pub mod state_dir;
pub mod store;
pub mod tls;
