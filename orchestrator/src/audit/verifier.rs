//! The interface for verifying artifacts, implemented for each kind of builder.

use crate::publish::Copied;
use std::path::Path;
use swarm_common::wire::artifact::Artifact;

/// What is wrong with a stored artifact.
pub struct Damage {
    /// The artifact's name in the published directory.
    pub name: String,
    pub why: String,
    /// Whether the disk is at fault, so that building the artifact again does not help.
    pub of_disk: bool,
}

/// Verifies the artifacts of one kind of builder, stored and published.
pub trait Verifier: Send + Sync {
    /// Verifies a stored artifact and what is derived from it. Returns what was repaired, or the fault.
    fn artifact(&self, artifact: &Artifact) -> Result<Option<String>, Damage>;

    /// The files published in `dirs` that are copies of `artifacts` instead of links. Does not report faults of the
    /// indexes.
    fn copies(&self, dirs: &[&Path], artifacts: &[Artifact]) -> Vec<Copied>;

    /// The first fault of the index in each of `dirs`. An index may list more than `artifacts`: anything
    /// published after the audit began.
    fn faults(&self, dirs: &[&Path], artifacts: &[Artifact]) -> Vec<String>;
}
