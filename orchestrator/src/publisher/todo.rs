//! What is missing in the binary package hosts: the state compared with what was done.

use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{digest::Digest, id::RunId, name::Name, state::PackageState, wire::artifact::Artifact};
use swarm_core::{Swarm, channel::Held, run::Run};

/// What this process has published already.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// How many received packages each run's index has, and which artifacts they are.
    pub(super) runs: BTreeMap<RunId, (u64, BTreeSet<Digest>)>,
    /// The revision that each stable channel has.
    pub(super) stable: BTreeMap<Name, u64>,
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
    /// The run that it follows.
    pub(super) run: RunId,
    pub(super) revision: u64,
    /// What the run received or took over.
    pub(super) received: Vec<Artifact>,
    /// What stays from earlier runs.
    pub(super) kept: Vec<Artifact>,
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
        let channel = &profile.channel;
        let Some(run) = channel.run.filter(|_| done.stable.get(name) != Some(&channel.revision)) else {
            continue;
        };
        let (received, kept): (Vec<_>, Vec<_>) = channel.held.values().partition(|held| held.run == run);
        let artifacts = |held: Vec<&Held>| held.into_iter().map(|held| held.artifact.clone()).collect();
        todo.stable.push(StableTodo {
            profile: name.clone(),
            run,
            revision: channel.revision,
            received: artifacts(received),
            kept: artifacts(kept),
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
