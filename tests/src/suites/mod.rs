//! Runs the test executables that Cargo has built, several at a time: suites that mostly wait (for services,
//! for real builds) beside suites that compute. `cargo test` runs them one after the other, and the
//! processors are idle for much of that time.
//!
//! Nothing is lost on the way: a suite passes only if it exits with success and its result line counts as
//! many tests as it lists.

pub mod built;
pub mod counts;
pub mod job;
pub mod lanes;
pub mod report;
pub mod times;

pub use built::Suite;
pub use job::{Ended, Job};
