//! What is missing in the binary package hosts: the state compared with what was done.

use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{
    digest::Digest,
    id::RunId,
    name::Name,
    state::{PackageState, RunState},
    wire::{artifact::Artifact, drone::Target},
};
use swarm_core::{Swarm, run::Run, view};

/// What this process has published already.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// How many received packages each run's index has, and which artifacts they are.
    pub(super) runs: BTreeMap<RunId, (u64, BTreeSet<Digest>)>,
    /// The run that each stable channel has, and how many of its packages.
    pub(super) stable: BTreeMap<Name, (RunId, u64)>,
}

/// What is missing in a run's index.
pub(super) struct RunTodo {
    pub(super) run: RunId,
    pub(super) profile: Name,
    /// Packages received in it so far.
    pub(super) received: u64,
    /// Artifacts that the index does not have yet.
    pub(super) artifacts: Vec<Artifact>,
}

/// What a profile's stable channel is to hold.
pub(super) struct StableTodo {
    pub(super) profile: Name,
    pub(super) run: RunId,
    /// Packages received in the run.
    pub(super) received: u64,
    pub(super) artifacts: Vec<Artifact>,
    /// `category/name:slot` of what is planned but was not received.
    pub(super) kept: BTreeSet<String>,
    /// Known artifacts by published path, to place again what is kept.
    pub(super) digests: BTreeMap<String, Digest>,
    /// The generation that the journal knows of.
    pub(super) recorded: u64,
}

/// Everything that is missing, as of the event `seq`.
pub(super) struct Todo {
    pub(super) seq: u64,
    pub(super) runs: Vec<RunTodo>,
    pub(super) stable: Vec<StableTodo>,
    /// Indexes of runs that ended, which need no more care.
    pub(super) ended: Vec<RunId>,
}

impl Todo {
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.stable.is_empty() && self.ended.is_empty()
    }
}

/// Compares.
pub(super) fn todo(swarm: &Swarm, done: &Done) -> Todo {
    let mut todo = Todo { seq: swarm.seq, runs: Vec::new(), stable: Vec::new(), ended: Vec::new() };
    for (&id, run) in &swarm.runs {
        let known = done.runs.get(&id);
        let received = run.count(PackageState::Received);
        if (run.state.is_over() && known.is_none()) || known.is_some_and(|(n, _)| *n == received) {
            continue;
        }
        let is_new = |a: &&Artifact| known.is_none_or(|(_, digests)| !digests.contains(&a.digest));
        let artifacts = artifacts(swarm, run).filter(is_new).cloned().collect();
        todo.runs.push(RunTodo { run: id, profile: run.profile.clone(), received, artifacts });
    }
    let is_over = |run: &RunId| swarm.runs.get(run).is_none_or(|r| r.state.is_over());
    let to_do = |run: &RunId| todo.runs.iter().any(|t| t.run == *run);
    todo.ended = done.runs.keys().filter(|run| is_over(run) && !to_do(run)).copied().collect();
    for (name, profile) in &swarm.profiles {
        let newest = swarm.runs.iter().rfind(|(_, run)| {
            run.profile == *name && matches!(run.state, RunState::Succeeded | RunState::Partial)
        });
        let Some((&id, run)) = newest else { continue };
        let received = run.count(PackageState::Received);
        if done.stable.get(name) == Some(&(id, received)) {
            continue;
        }
        let known = view::artifacts(swarm, Some(name));
        todo.stable.push(StableTodo {
            profile: name.clone(),
            run: id,
            received,
            artifacts: artifacts(swarm, run).cloned().collect(),
            kept: kept(swarm, run),
            digests: known.into_iter().map(|a| (a.target.path(), a.digest)).collect(),
            recorded: profile.generation,
        });
    }
    todo
}

/// What was received in a run, reused packages included.
fn artifacts<'s>(swarm: &'s Swarm, run: &'s Run) -> impl Iterator<Item = &'s Artifact> {
    let received = run.packages.iter().filter_map(|p| swarm.packages.get(p));
    received.filter(|p| p.state == PackageState::Received).flat_map(|p| &p.artifacts)
}

/// `category/name:slot` of what a run plans and has not received.
fn kept(swarm: &Swarm, run: &Run) -> BTreeSet<String> {
    let packages = run.packages.iter().filter_map(|p| swarm.packages.get(p));
    let (received, missing): (Vec<_>, Vec<_>) = packages.partition(|p| p.state == PackageState::Received);
    let place = |target: &Target| format!("{}:{}", target.cpv.cp(), target.slot);
    let received: BTreeSet<String> = received.iter().flat_map(|p| &p.targets).map(place).collect();
    let missing = missing.iter().flat_map(|p| &p.targets).map(place);
    missing.filter(|place| !received.contains(place)).collect()
}
