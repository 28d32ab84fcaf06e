//! Parts of the real drone in this process, against a whole orchestrator in this process.

mod agent;
mod bases;
mod snapshots;
