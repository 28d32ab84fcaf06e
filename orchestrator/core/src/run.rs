//! A run: one pass over a profile's plan.

use crate::graph::Graph;
use serde::{Deserialize, Serialize};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};
use swarm_common::{digest::Digest, id::*, name::Name, state::*, time::TimeMs, wire::plan::PlanProblem};

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Of which profile.
    pub profile: Name,
    /// How urgent.
    pub class: RunClass,
    /// What it builds from.
    pub snapshot: Digest,
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
    /// What the resolver refused.
    pub problems: Vec<PlanProblem>,
}

impl Run {
    /// How many packages are in a state.
    #[must_use]
    pub fn count(&self, state: PackageState) -> u64 {
        self.counts.get(&state).copied().unwrap_or(0)
    }
}
