//! Parts of the real drone, against a whole orchestrator, both in this process.

mod agent;
mod bases;
mod snapshots;
