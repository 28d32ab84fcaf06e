//! A whole swarm in one thread and in virtual time: the real core and the real agents; a seed determines
//! network, disks and clock.
//!
//! [`world`] is the event loop and `network` connects its parts. [`orchestrator`] and [`drone`] are the
//! shells around core and agent, in place of engine and loop. [`faults`] defines the faults of a seed, and
//! [`oracle`] checks the results without using the core's own bookkeeping. [`small`] has no seeds: it
//! explores everything that can happen.

mod base;
mod by_hand;
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
pub mod size;
pub mod small;
pub mod summary;
pub mod words;
pub mod world;
