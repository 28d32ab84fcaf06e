//! Runs the test executables that Cargo has built, several at a time: suites that mostly wait (for services
//! or real builds) beside suites that compute. `cargo test` runs them one after the other, which leaves the
//! processors idle much of the time.
//!
//! No test is lost: a suite passes only if it exits with success and its result line counts as many tests as
//! it lists.

pub mod built;
pub mod counts;
pub mod job;
pub mod lanes;
pub mod report;
pub mod times;

pub use built::Suite;
pub use job::{Ended, Job};
