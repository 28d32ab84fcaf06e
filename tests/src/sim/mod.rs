//! A whole swarm in one thread and in virtual time: the real core and the real agents,
//! with the network, the disks and the clock made of a seed.
//!
//! [`world`] is the event loop, `network` what lies between, [`orchestrator`] and [`drone`] are the shells around core
//! and agent (what engine and loop do in production), [`faults`] says how badly a seed
//! treats them, [`oracle`] watches without using the core's own bookkeeping. [`small`] has no seeds: it goes through
//! all that can happen.

mod base;
mod calendar;
mod clock;
pub mod drone;
pub mod faults;
mod network;
mod nix;
pub mod oracle;
pub mod orchestrator;
pub mod plan;
pub mod rng;
pub mod small;
pub mod summary;
pub mod words;
pub mod world;
