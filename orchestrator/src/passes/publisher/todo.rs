//! Determines what is missing in the binary package hosts, by comparing the state with what was published.

use crate::publish::ChannelContent;
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{
    digest::Digest,
    id::RunId,
    name::Name,
    state::PackageState,
    wire::{admin::BuilderKind, artifact::Artifact, base::Base, channel::ChannelName},
};
use swarm_core::{
    Swarm,
    state::{ChannelRoot, Generation, Run},
};

/// What this process has published.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// For each run's index, the number of received packages and the published artifacts.
    pub(super) runs: BTreeMap<RunId, (u64, BTreeSet<Digest>)>,
    /// The published generation of each channel.
    pub(super) channels: BTreeMap<(Name, ChannelName), u64>,
}

/// What is missing in a run's index.
pub(super) struct RunTodo {
    pub(super) run: RunId,
    pub(super) profile: Name,
    /// Number of packages received so far.
    pub(super) received: u64,
    /// Artifacts missing in the index.
    pub(super) artifacts: Vec<Artifact>,
}

/// A channel whose current generation is missing.
pub(super) struct ChannelTodo {
    /// The kind of builder whose clients read the channel.
    pub(super) kind: BuilderKind,
    /// The run whose packages it contains.
    pub(super) run: RunId,
    /// The last generation that the journal records as published or skipped.
    pub(super) recorded: u64,
    pub(super) content: ChannelContent,
}

/// Everything that is missing, as of event `seq`.
pub(super) struct Todo {
    pub(super) seq: u64,
    pub(super) runs: Vec<RunTodo>,
    pub(super) channels: Vec<ChannelTodo>,
    /// Ended runs whose indexes need no more work.
    pub(super) ended: Vec<RunId>,
}

impl Todo {
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.channels.is_empty() && self.ended.is_empty()
    }
}

/// Compares the state with what was published.
pub(super) fn todo(swarm: &Swarm, done: &Done) -> Todo {
    let mut todo = Todo { seq: swarm.seq, runs: Vec::new(), channels: Vec::new(), ended: Vec::new() };
    // Nix runs need no index: drones fetch inputs by digest.
    for (&id, run) in swarm.runs.iter().filter(|(_, run)| run.base != Base::Nix) {
        let published = done.runs.get(&id);
        let received = run.count(PackageState::Received);
        if (run.state.is_over() && published.is_none()) || published.is_some_and(|(n, _)| *n == received) {
            continue;
        }
        let is_new = |a: &&Artifact| published.is_none_or(|(_, digests)| !digests.contains(&a.digest));
        let artifacts = artifacts(swarm, run).filter(is_new).cloned().collect();
        todo.runs.push(RunTodo { run: id, profile: run.profile.clone(), received, artifacts });
    }
    let is_over = |run: &RunId| swarm.runs.get(run).is_none_or(|r| r.state.is_over());
    let to_do = |run: &RunId| todo.runs.iter().any(|t| t.run == *run);
    todo.ended = done.runs.keys().filter(|run| is_over(run) && !to_do(run)).copied().collect();
    let channels =
        swarm.profiles.iter().flat_map(|profile| ChannelName::ALL.map(|channel| (profile, channel)));
    for ((name, profile), channel) in channels {
        let (led_to, history) = (&profile.channel, profile.history(channel));
        let published = done.channels.get(&(name.clone(), channel));
        let is_new = |generation: &&Generation| published != Some(&generation.number);
        let Some(generation) = history.current().filter(is_new) else { continue };
        let of_last_run = |artifact: &Artifact| {
            let held = led_to.held.get(&artifact.digest);
            generation.revision == led_to.revision && held.is_some_and(|held| Some(held.run) == led_to.run)
        };
        let artifacts = generation.artifacts.iter().filter_map(|digest| history.artifacts.get(digest));
        let (received, kept) = artifacts.cloned().partition(of_last_run);
        todo.channels.push(ChannelTodo {
            kind: profile.request.builder,
            run: generation.run,
            recorded: profile.published(channel).max(history.skipped),
            content: ChannelContent {
                profile: name.clone(),
                channel,
                number: generation.number,
                received,
                kept,
                hosts: hosts(swarm, &generation.roots),
            },
        });
    }
    todo
}

fn hosts(swarm: &Swarm, roots: &[ChannelRoot]) -> Vec<(ChannelRoot, Option<Digest>)> {
    let snapshot = |root: &ChannelRoot| swarm.runs.get(&root.run).map(|run| run.snapshot);
    roots.iter().filter(|root| root.root.host).map(|root| (root.clone(), snapshot(root))).collect()
}

/// The artifacts of a run, including reused ones.
fn artifacts<'s>(swarm: &'s Swarm, run: &'s Run) -> impl Iterator<Item = &'s Artifact> {
    let received = run.packages.iter().filter_map(|p| swarm.packages.get(p));
    received.filter(|p| p.state == PackageState::Received).flat_map(|p| &p.artifacts)
}
