//! Measured work on an imagined fleet: how near the real core comes to the shortest
//! possible night, beside what others would take for it.
//!
//! Where [`crate::sim`] treats the swarm badly and looks whether it holds, this treats
//! it as a usual night does and looks how long it takes. `swarm-sim` is its command.

pub mod bound;
pub mod case;
pub mod farm;
pub mod fleet;
pub mod gantt;
pub mod made;
pub mod peers;
pub mod table;
pub mod workload;
