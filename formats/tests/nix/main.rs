//! Compares Nix's formats with the real Nix, and tests hostile input.
//!
//! The real Nix (`nix-bin`, installed by `scripts/test`) works only in a temporary directory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod archives;
mod caches;
mod derivations;
mod hostile_archives;
mod hostile_derivations;
mod hostile_narinfos;
mod lab;
