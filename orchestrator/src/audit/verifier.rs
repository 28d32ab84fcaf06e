//! The seam between kinds of builders: what is verified of that which each made.

use crate::publish::Copied;
use std::path::Path;
use swarm_common::wire::artifact::Artifact;

/// What is wrong with a stored artifact.
pub(super) struct Damage {
    /// What the artifact is called where it is published.
    pub name: String,
    /// What is wrong.
    pub why: String,
    /// Whether the disk is at fault, so that building it again does not help.
    pub of_disk: bool,
}

/// Verifies what is stored and published of one kind of builder.
pub(super) trait Verifier: Send + Sync {
    /// Verifies a stored artifact and what is derived from it. Returns what was repaired, or the fault.
    fn artifact(&self, artifact: &Artifact) -> Result<Option<String>, Damage>;

    /// The files published in `dirs` that are copies of `artifacts` instead of links. Does not report faults of the
    /// indexes.
    fn copies(&self, dirs: &[&Path], artifacts: &[Artifact]) -> Vec<Copied>;

    /// The first fault of the index in each of `dirs`. An index may have more than `artifacts`: what was published
    /// after the audit began.
    fn faults(&self, dirs: &[&Path], artifacts: &[Artifact]) -> Vec<String>;
}
