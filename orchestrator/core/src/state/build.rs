//! Records of builds whose runs are forgotten. While a run is kept, its attempts say the same.

use super::{
    attempt::{Attempt, Ending},
    package::Package,
    run::Run,
};
use crate::shared::Shared;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{
    digest::Digest,
    id::*,
    name::Name,
    state::Phase,
    time::TimeMs,
    wire::{drone::Usage, plan::Toolchain},
};

/// A build whose result was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRecord {
    /// The run that it was built for.
    pub run: RunId,
    /// The drone that built it.
    pub drone: DroneId,
    /// That drone's name at that time.
    pub drone_name: Name,
    /// The build key of its package.
    pub build_key: Digest,
    /// The strict key of its package.
    pub strict_key: Digest,
    /// Digests of the stored files.
    pub artifacts: Vec<Digest>,
    /// When it was assigned.
    pub started_at: TimeMs,
    /// When its result was accepted.
    pub received_at: TimeMs,
    /// When each phase began.
    pub phases: BTreeMap<Phase, TimeMs>,
    /// Time and memory that it used.
    #[serde(default, with = "crate::record")]
    pub usage: Option<Usage>,
}

impl BuildRecord {
    /// The record of an attempt at a package; `None` if its result was not accepted.
    #[must_use]
    pub fn of(package: &Package, attempt: &Attempt) -> Option<Self> {
        if attempt.ending != Some(Ending::Accepted) {
            return None;
        }
        Some(Self {
            run: package.run,
            drone: attempt.drone,
            drone_name: attempt.drone_name.clone(),
            build_key: package.build_key,
            strict_key: package.strict_key,
            artifacts: package.artifacts.iter().map(|artifact| artifact.digest).collect(),
            started_at: attempt.started_at,
            received_at: attempt.ended_at?,
            phases: attempt.phases.clone(),
            usage: attempt.usage,
        })
    }
}

/// What the builds of a run have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its profile.
    pub profile: Name,
    /// The snapshot that it was built from.
    pub snapshot: Digest,
    /// Digest of the base that it was built in.
    pub base: Digest,
    /// Digest of the image of that base, if it had one.
    pub image: Option<Digest>,
    /// The toolchain, if it was built in the drones' own systems.
    #[serde(default, with = "crate::record")]
    pub toolchain: Option<Box<Toolchain>>,
}

impl From<&Run> for RunRecord {
    fn from(run: &Run) -> Self {
        Self {
            profile: run.profile.clone(),
            snapshot: run.snapshot,
            base: run.base.digest(),
            image: run.base.image(),
            toolchain: run.built_with.clone(),
        }
    }
}

/// The builds of forgotten runs of which an artifact is kept.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Builds {
    runs: BTreeMap<RunId, RunRecord>,
    builds: BTreeMap<AttemptId, Shared<BuildRecord>>,
}

impl Builds {
    /// The record of an attempt.
    #[must_use]
    pub fn get(&self, attempt: AttemptId) -> Option<(&RunRecord, &BuildRecord)> {
        let build = self.builds.get(&attempt)?;
        Some((self.runs.get(&build.run)?, build))
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.builds.is_empty()
    }

    /// Adds the builds of a run.
    pub(crate) fn add(&mut self, run: &Run, builds: impl Iterator<Item = (AttemptId, BuildRecord)>) {
        for (attempt, build) in builds {
            self.runs.entry(build.run).or_insert_with(|| run.into());
            self.builds.insert(attempt, build.into());
        }
    }

    /// Keeps only the builds that `wanted` names.
    pub(crate) fn retain(&mut self, wanted: impl Fn(AttemptId, &BuildRecord) -> bool) {
        self.builds.retain(|attempt, build| wanted(*attempt, build));
        let runs: BTreeSet<RunId> = self.builds.values().map(|build| build.run).collect();
        self.runs.retain(|run, _| runs.contains(run));
    }

    /// Shares the records with `other` that are the same there.
    pub(crate) fn share(&mut self, other: &Self) {
        for (attempt, build) in &mut self.builds {
            if let Some(theirs) = other.builds.get(attempt) {
                build.merge(theirs);
            }
        }
    }

    /// Changes every time with `set`.
    pub(crate) fn set_times(&mut self, set: impl Fn(&mut TimeMs)) {
        for shared in self.builds.values_mut() {
            let mut build = BuildRecord::clone(shared);
            set(&mut build.started_at);
            set(&mut build.received_at);
            build.phases.values_mut().for_each(&set);
            *shared = build.into();
        }
    }
}
