//! Support code for the tests of the whole swarm. The tests themselves are in `tests/`, one file per subject.

pub mod api;
pub mod attack;
pub mod bench;
#[cfg(test)]
mod dependencies;
pub mod e2e;
pub mod faults;
#[cfg(test)]
mod imports;
pub mod machine;
pub mod replay;
pub mod services;
#[cfg(test)]
mod settings;
pub mod sim;
pub mod soak;
pub mod suites;
pub mod tidy;
