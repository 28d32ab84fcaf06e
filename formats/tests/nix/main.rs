//! Nix's formats beside the real Nix, and on hostile input.
//!
//! The real Nix (`nix-bin`, installed by `scripts/test`) works in a temporary folder only.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod archives;
mod caches;
mod derivations;
mod hostile_archives;
mod hostile_derivations;
mod hostile_narinfos;
mod lab;
