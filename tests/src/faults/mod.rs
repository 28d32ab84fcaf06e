//! What goes wrong in houses, done on purpose to real programs: see `tests/crash.rs`.

mod victim;

pub use victim::Victim;
