//! Measured work on a simulated fleet: how close the real core comes to the shortest possible night, compared
//! with other schedulers.
//!
//! While [`crate::sim`] injects faults and checks that the swarm survives them, this module simulates usual
//! nights and measures their duration. The command is `swarm-sim`.

pub mod bound;
pub mod case;
pub mod farm;
pub mod fleet;
pub mod gantt;
pub mod made;
pub mod peers;
pub mod table;
pub mod workload;
