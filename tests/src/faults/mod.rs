//! Faults injected into real programs: see `tests/crash.rs` and `tests/redis.rs`.

mod builder;
pub mod crew;
pub mod house;
pub mod redis;
mod victim;

pub use builder::{Builder, Done, is_builders};
pub use victim::{Victim, named_files};
