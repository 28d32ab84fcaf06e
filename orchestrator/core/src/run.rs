//! A run: one pass over a profile's plan.

use crate::{graph::Graph, swarm::Swarm};
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
        base::Base,
        plan::{PlanProblem, Toolchain},
    },
};

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Of which profile.
    pub profile: Name,
    /// How urgent.
    pub class: RunClass,
    /// What it builds from.
    pub snapshot: Digest,
    /// What it builds in.
    #[serde(default)]
    pub base: Base,
    /// Where it stands.
    pub state: RunState,
    /// Why, where that is not plain.
    pub reason: String,
    /// When it started.
    pub started_at: TimeMs,
    /// When it ended.
    pub ended_at: Option<TimeMs>,
    /// Attempts at its plan.
    pub plan_attempts: Vec<AttemptId>,
    /// The plan is not to be claimed before.
    pub plan_not_before: TimeMs,
    /// Attempts at the generation of its base that follows it.
    #[serde(default)]
    pub base_attempts: Vec<AttemptId>,
    /// Its packages; ids follow each other.
    pub packages: Vec<PackageId>,
    /// Which packages become installable together.
    pub graph: Graph,
    /// Its packages by state.
    pub counts: BTreeMap<PackageState, u64>,
    /// The needed ones, the longest chain of waiting work first.
    pub ready: BTreeSet<(Reverse<u64>, PackageId)>,
    /// Failed, refused and lost attempts at its packages that nobody has forgiven.
    pub failures: u64,
    /// The needed and the blocked ones, in the same order.
    pub open: BTreeSet<(Reverse<u64>, PackageId)>,
    /// How long those are predicted to take together, in milliseconds at speed 1. A snapshot from
    /// before there was this is replayed over: 0 would be wrong as long as the run goes on.
    pub open_ms: u64,
    /// Packages taken over from earlier runs.
    pub reused: u64,
    /// How many packages it had received when last nothing of it could go on.
    #[serde(default)]
    pub stood_still_at: Option<u64>,
    /// The sonames that its base provides, by multilib category; empty if they are not known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub base_provides: BTreeMap<String, BTreeSet<String>>,
    /// What the resolver refused.
    pub problems: Vec<PlanProblem>,
    /// The toolchain of the drone that planned it, if it is built in the drones' own systems.
    #[serde(default)]
    pub built_with: Option<Box<Toolchain>>,
}

impl Run {
    /// One that begins at `at`, and has no plan yet.
    #[must_use]
    pub fn new(profile: Name, class: RunClass, snapshot: Digest, base: Base, at: TimeMs) -> Self {
        Self {
            profile,
            class,
            snapshot,
            base,
            state: RunState::Planning,
            reason: String::new(),
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
            base_provides: BTreeMap::new(),
            problems: Vec::new(),
            built_with: None,
        }
    }

    /// How many of its packages are what its profile publishes: all it received once it is
    /// over, and before that what it had when last nothing of it could go on.
    #[must_use]
    pub fn to_publish(&self) -> Option<u64> {
        match self.state {
            RunState::Succeeded | RunState::Partial => Some(self.count(PackageState::Received)),
            RunState::Building | RunState::Cancelled => self.stood_still_at,
            RunState::Planning | RunState::Failed => None,
        }
    }

    /// When something of it was last handed out or came to an end.
    #[must_use]
    pub fn moved_at(&self, swarm: &Swarm) -> TimeMs {
        let of_packages =
            self.packages.iter().filter_map(|p| swarm.packages.get(p)).flat_map(|p| &p.attempts);
        let attempts = self.plan_attempts.iter().chain(of_packages).filter_map(|a| swarm.attempts.get(a));
        let moved = attempts.map(|a| a.ended_at.unwrap_or(a.started_at)).max();
        moved.unwrap_or(self.started_at).max(self.started_at)
    }

    /// How many packages are in a state.
    #[must_use]
    pub fn count(&self, state: PackageState) -> u64 {
        self.counts.get(&state).copied().unwrap_or(0)
    }
}
