//! Runs: each processes one plan of a profile.

use crate::{
    graph::Graph,
    reason::{self, Reason},
    shared::Shared,
};
use serde::{Deserialize, Serialize};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};
use swarm_common::{
    digest::Digest,
    id::*,
    name::Name,
    state::*,
    time::TimeMs,
    wire::{
        artifact::Artifact,
        base::Base,
        cpu::CpuNeeds,
        nix::{DerivationArchive, NixRoot},
        plan::{PlanProblem, Toolchain},
    },
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub profile: Name,
    pub class: RunClass,
    pub snapshot: Digest,
    #[serde(default, with = "crate::record")]
    pub base: Base,
    pub state: RunState,
    /// The reason for the state. `None` if it needs none.
    #[serde(with = "reason::optional")]
    pub reason: Option<Reason>,
    pub started_at: TimeMs,
    pub ended_at: Option<TimeMs>,
    /// All attempts at the plan.
    pub plan_attempts: Vec<AttemptId>,
    /// Earliest time of the next attempt at the plan.
    pub plan_not_before: TimeMs,
    /// All attempts at the base generation that is to follow this run.
    #[serde(default)]
    pub base_attempts: Vec<AttemptId>,
    /// The packages of the plan, with consecutive ids.
    pub packages: Vec<PackageId>,
    pub graph: Graph,
    pub counts: BTreeMap<PackageState, u64>,
    /// Needed packages by rank, the longest chain of waiting work first.
    pub ready: BTreeSet<(Reverse<u64>, PackageId)>,
    /// Number of failed, rejected and lost attempts at packages that were not forgiven.
    pub failures: u64,
    /// Needed and blocked packages, in the same order.
    pub open: BTreeSet<(Reverse<u64>, PackageId)>,
    /// Predicted total work of `open`, in milliseconds at speed 1. Not optional: a checkpoint without this
    /// field is not used, and the events are replayed instead, since 0 would be wrong until the run ends.
    pub open_ms: u64,
    /// Number of packages reused from earlier builds.
    pub reused: u64,
    /// Number of packages received when the run last stood still.
    #[serde(default)]
    pub stood_still_at: Option<u64>,
    /// The sonames provided by its base, by multilib category; empty if unknown.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub base_provides: Shared<BTreeMap<String, BTreeSet<String>>>,
    /// What the resolver refused.
    #[serde(with = "crate::record")]
    pub problems: Shared<Vec<PlanProblem>>,
    /// For Nix: what the profile's attributes evaluate to.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "crate::record")]
    pub roots: Vec<NixRoot>,
    /// For Nix: the archive of the derivations, if the drone that made the plan uploaded one.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::record")]
    pub derivations: Option<DerivationArchive>,
    /// For Nix: the package that each store path is an output of, by the path's base name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, PackageId>,
    /// The toolchain of the drone that made the plan, if the run is built in the drones' own systems.
    #[serde(default, with = "crate::record")]
    pub built_with: Option<Box<Toolchain>>,
    /// What packages require of a processor to run, as set in the profile when the run started.
    #[serde(default, skip_serializing_if = "CpuNeeds::is_empty", with = "crate::record")]
    pub cpu: CpuNeeds,
    /// Whether the run tries a candidate, so that nothing of it is published unless the profile switches to
    /// it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_trial: bool,
}

impl Run {
    /// A run that starts at `at` and has no plan yet.
    #[must_use]
    pub fn new(profile: Name, class: RunClass, snapshot: Digest, base: Base, at: TimeMs) -> Self {
        Self {
            profile,
            class,
            snapshot,
            base,
            state: RunState::Planning,
            reason: None,
            started_at: at,
            ended_at: None,
            plan_attempts: Vec::new(),
            plan_not_before: at,
            base_attempts: Vec::new(),
            packages: Vec::new(),
            graph: Graph::default(),
            counts: BTreeMap::new(),
            ready: BTreeSet::new(),
            failures: 0,
            open: BTreeSet::new(),
            open_ms: 0,
            reused: 0,
            stood_still_at: None,
            base_provides: Shared::default(),
            problems: Shared::default(),
            roots: Vec::new(),
            derivations: None,
            outputs: BTreeMap::new(),
            built_with: None,
            cpu: CpuNeeds::default(),
            on_trial: false,
        }
    }

    /// The packages other than `id` whose outputs these artifacts refer to, in order. For Nix, the run-time
    /// dependencies are known only from the built output.
    #[must_use]
    pub fn references(&self, id: PackageId, artifacts: &[Artifact]) -> Vec<PackageId> {
        let nars = artifacts.iter().filter_map(|artifact| artifact.nar.as_ref());
        let found = nars.flat_map(|nar| &nar.references).filter_map(|name| self.outputs.get(name));
        let found: BTreeSet<PackageId> = found.copied().filter(|package| *package != id).collect();
        found.into_iter().collect()
    }

    /// Number of packages to publish: all received ones once the run has ended, and before that those
    /// received when it last stood still. `None` if there is nothing to publish yet.
    #[must_use]
    pub fn to_publish(&self) -> Option<u64> {
        match self.state {
            RunState::Succeeded | RunState::Partial => Some(self.count(PackageState::Received)),
            RunState::Building | RunState::Cancelled => self.stood_still_at,
            RunState::Planning | RunState::Failed => None,
        }
    }

    #[must_use]
    pub fn count(&self, state: PackageState) -> u64 {
        self.counts.get(&state).copied().unwrap_or(0)
    }
}

fn is_empty(provides: &BTreeMap<String, BTreeSet<String>>) -> bool {
    provides.is_empty()
}
