//! Healing on machines with a real sshd: [`steps`] one by one, and [`ladder`] with a whole orchestrator that
//! takes them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

mod ladder;
mod steps;
