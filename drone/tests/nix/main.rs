//! Tests the builder with the real Nix, in stores of its own below a temporary directory.
//!
//! The expressions need no nixpkgs: a directory with a static busybox is the only tool that they use.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by a panic")]

mod builds;
mod evaluations;
mod failures;
mod flakes;
mod jobs;
mod lab;
mod plans;
mod users;
