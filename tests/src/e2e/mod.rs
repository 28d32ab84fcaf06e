//! Whole swarms of real processes: the real `swarm-orchestrator`, `swarm-drone`, `swarmctl`, Portage and Nix,
//! on loopback, in a folder that is removed afterwards.
//!
//! Nothing here looks inside the programs. A test sees what an admin sees: `swarmctl --json`, log files, and
//! a workstation that installs packages or refuses to.

mod admin;
pub mod base;
pub mod binhost;
pub mod forger;
pub mod mirror;
pub mod nginx;
pub mod nix;
mod ordinary;
pub mod process;
pub mod programs;
pub mod swarm;
pub mod tamper;
pub mod wait;
pub mod workstation;
