//! The files that an attempt may deliver.

use crate::nix::run_paths::RunPaths;
use std::sync::Arc;
#[cfg(test)]
use swarm_common::wire::drone::PortageTarget;
use swarm_common::{
    id::AttemptId,
    wire::{admin::BuilderKind, drone::Target},
};
use swarm_core::{Refusal, Swarm, state::Job};

#[derive(Debug, Clone)]
pub struct ExpectedUpload {
    pub targets: Vec<Target>,
    pub kind: BuilderKind,
    /// For Nix: the store paths that the files may refer to.
    pub run_paths: Arc<RunPaths>,
    /// For Nix: the references that the drone's Nix registered for each file, as base names, in the order of
    /// the targets. Empty if the drone is older.
    pub references: Vec<Vec<String>>,
    /// Whether a package may have another build ID than its target, which it then gets. After a restore,
    /// another package may already be published with the package's own ID, and the target's ID may be higher
    /// than a drone accepts.
    pub any_build_id: bool,
}

impl ExpectedUpload {
    /// What this attempt must deliver.
    ///
    /// # Errors
    /// There is no such attempt, it is not a build, or its package is gone.
    pub fn by(swarm: &Swarm, attempt: AttemptId) -> Result<Self, Refusal> {
        let targets = targets(swarm, attempt)?;
        let no_files = || Refusal::Invalid(format!("attempt {attempt} builds a package that has no files"));
        let kind = targets.first().map(Target::builder).ok_or_else(no_files)?;
        let run_paths = RunPaths::of(swarm, attempt).map(Arc::new);
        let any_build_id = swarm.attempts.get(&attempt).is_some_and(|record| record.is_renumbered());
        let (run_paths, references) = (run_paths.unwrap_or_default(), Vec::new());
        Ok(Self { targets, kind, run_paths, references, any_build_id })
    }

    #[cfg(test)]
    pub(crate) fn packages<const N: usize>(targets: [PortageTarget; N]) -> Self {
        let (kind, run_paths) = (BuilderKind::Portage, Arc::default());
        let (targets, references) = (targets.map(Into::into).into(), Vec::new());
        Self { targets, kind, run_paths, references, any_build_id: false }
    }

    /// The same, restricted to one target.
    #[must_use]
    pub fn only(&self, target: Target) -> Self {
        Self { targets: vec![target], ..self.clone() }
    }
}

/// The targets of an attempt, with its build IDs.
fn targets(swarm: &Swarm, attempt: AttemptId) -> Result<Vec<Target>, Refusal> {
    let record = swarm.attempts.get(&attempt).ok_or(Refusal::UnknownAttempt(attempt))?;
    let Job::Build(package) = record.job else {
        return Err(Refusal::Invalid(format!("attempt {attempt} does not build a package and has no files")));
    };
    let package = swarm.packages.get(&package).ok_or(Refusal::UnknownPackage(package))?;
    Ok(package.targets_with(&record.build_ids))
}
