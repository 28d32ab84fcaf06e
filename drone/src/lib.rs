//! The drone: claims work, builds it in clean roots, then spools and uploads the results.
//!
//! [`agent`] makes the decisions; the other modules carry them out. The drone has no rules about packages: it
//! builds what it is assigned and reports the outcome.

pub mod agent;
pub mod artifacts;
pub mod bases;
pub mod builder;
pub mod buildroot;
pub mod clock;
pub mod config;
mod cpu;
pub mod deliver;
mod download;
pub mod enrol;
pub mod fitness;
pub mod jobserver;
pub mod lock;
pub mod logs;
pub mod machine;
pub mod namespace;
pub mod process;
mod ref_counts;
pub mod run;
pub mod snapshots;
pub mod spool;
pub mod toolchain;
pub mod vitals;
pub mod work;
