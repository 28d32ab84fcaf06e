//! API views of builds.

use crate::state::{BuildRecord, Job, RunRecord, Swarm};
use std::collections::BTreeSet;
use swarm_common::{
    id::AttemptId,
    wire::{artifact::Artifact, build::BuildView},
};

/// How the given artifacts were built, as far as known; each build once.
pub(super) fn builds(swarm: &Swarm, artifacts: &[Artifact]) -> Vec<BuildView> {
    let attempts: BTreeSet<AttemptId> = artifacts.iter().map(|artifact| artifact.attempt).collect();
    attempts.into_iter().filter_map(|attempt| build(swarm, attempt)).collect()
}

/// The API view of the build of an attempt. `None` if its result was not accepted, or no record of it is
/// kept.
#[must_use]
pub fn build(swarm: &Swarm, attempt: AttemptId) -> Option<BuildView> {
    match swarm.builds.get(attempt) {
        Some((run, build)) => Some(view(attempt, run, build)),
        None => {
            let record = swarm.attempts.get(&attempt)?;
            let Job::Build(package) = record.job else { return None };
            let package = swarm.packages.get(&package)?;
            let run = swarm.runs.get(&package.run)?;
            Some(view(attempt, &run.into(), &BuildRecord::of(package, record)?))
        }
    }
}

fn view(attempt: AttemptId, run: &RunRecord, build: &BuildRecord) -> BuildView {
    BuildView {
        attempt,
        run: build.run,
        profile: run.profile.clone(),
        drone: build.drone,
        drone_name: build.drone_name.clone(),
        build_key: build.build_key,
        strict_key: build.strict_key,
        snapshot: run.snapshot,
        base: run.base,
        image: run.image,
        toolchain: run.toolchain.as_deref().cloned(),
        started_at: build.started_at,
        received_at: build.received_at,
        phases: build.phases.clone(),
        usage: build.usage,
    }
}
