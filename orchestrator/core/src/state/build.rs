//! Records of builds whose runs are forgotten. While a run is kept, its attempts have the same information.

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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRecord {
    /// The run that the package was built for.
    pub run: RunId,
    pub drone: DroneId,
    /// The drone's name at that time.
    pub drone_name: Name,
    pub build_key: Digest,
    pub strict_key: Digest,
    pub artifacts: Vec<Digest>,
    pub started_at: TimeMs,
    pub received_at: TimeMs,
    pub phases: BTreeMap<Phase, TimeMs>,
    #[serde(default, with = "crate::record")]
    pub usage: Option<Usage>,
}

impl BuildRecord {
    /// `None` if the attempt's result was not accepted.
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    pub profile: Name,
    pub snapshot: Digest,
    /// Digest of the base that the run was built in.
    pub base: Digest,
    /// Digest of the base's image, if it had one.
    pub image: Option<Digest>,
    /// The toolchain, if the run was built in the drones' own systems.
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

/// The builds of forgotten runs that still have a kept artifact.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Builds {
    runs: BTreeMap<RunId, RunRecord>,
    builds: BTreeMap<AttemptId, Shared<BuildRecord>>,
}

impl Builds {
    #[must_use]
    pub fn get(&self, attempt: AttemptId) -> Option<(&RunRecord, &BuildRecord)> {
        let build = self.builds.get(&attempt)?;
        Some((self.runs.get(&build.run)?, build))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.builds.is_empty()
    }

    pub(crate) fn add(&mut self, run: &Run, builds: impl Iterator<Item = (AttemptId, BuildRecord)>) {
        for (attempt, build) in builds {
            self.runs.entry(build.run).or_insert_with(|| run.into());
            self.builds.insert(attempt, build.into());
        }
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(AttemptId, &BuildRecord) -> bool) {
        self.builds.retain(|attempt, build| keep(*attempt, build));
        let runs: BTreeSet<RunId> = self.builds.values().map(|build| build.run).collect();
        self.runs.retain(|run, _| runs.contains(run));
    }

    /// Shares the memory of records that `other` has as well.
    pub(crate) fn share(&mut self, other: &Self) {
        for (attempt, build) in &mut self.builds {
            if let Some(theirs) = other.builds.get(attempt) {
                build.merge(theirs);
            }
        }
    }

    /// Applies `set` to every time.
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
