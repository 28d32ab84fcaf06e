//! Hostile clients: what they do is bounded, and on this machine only.

pub mod connections;
