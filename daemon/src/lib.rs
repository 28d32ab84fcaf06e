//! What the programs of Build Swarm share at run time: configuration, log, supervisor, locked files, manual
//! pages, and their version.

pub mod config;
pub mod locked;
pub mod man;
pub mod supervisor;
pub mod telemetry;
pub mod version;
