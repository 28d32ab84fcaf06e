//! What goes wrong in houses, done on purpose to real programs: see `tests/crash.rs`.

pub mod redis;
mod victim;

pub use victim::Victim;
