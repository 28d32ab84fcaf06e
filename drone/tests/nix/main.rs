//! The builder with the real Nix, in its own stores below a temporary directory.
//!
//! The expressions do not need nixpkgs: their only tool is a directory with a static busybox.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by a panic")]

mod builds;
mod evaluations;
mod failures;
mod flakes;
mod jobs;
mod lab;
mod plans;
mod users;
