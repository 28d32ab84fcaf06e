//! Which artifacts are kept: those that are still published, installed in builds, or reused.

use crate::{
    base,
    state::{BuildRecord, Built, Package, Profile, Swarm},
};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{
    digest::Digest,
    id::{AttemptId, RunId},
    name::Name,
    wire::{artifact::Artifact, base::Base},
};

/// Every artifact, each path once, that a kept run received, that a profile may reuse, or that a channel or a
/// kept generation contains. `None` means all profiles.
#[must_use]
pub fn artifacts(swarm: &Swarm, profile: Option<&Name>) -> Vec<Artifact> {
    once(kept_artifacts(swarm, profile))
}

/// The kept artifacts of all profiles for which `asked_for` returns true.
#[must_use]
pub fn artifacts_among(swarm: &Swarm, asked_for: &dyn Fn(&Artifact) -> bool) -> Vec<Artifact> {
    once(kept_artifacts(swarm, None).filter(|artifact| asked_for(artifact)))
}

/// The archives of derivations of kept runs.
#[must_use]
pub fn derivations(swarm: &Swarm) -> BTreeSet<Digest> {
    swarm.runs.values().filter_map(|run| run.derivations).map(|archive| archive.digest).collect()
}

/// A predicate: whether a build has an artifact that is kept, also as a part of a base.
pub(crate) fn builds(swarm: &Swarm) -> impl Fn(AttemptId, &BuildRecord) -> bool + use<> {
    let named = kept_artifacts(swarm, None).map(|artifact| artifact.attempt);
    let named: BTreeSet<AttemptId> = named.filter(|id| swarm.builds.get(*id).is_some()).collect();
    let installed = base::needed(swarm).flat_map(|base| match base {
        Base::Image { installed, .. } => installed,
        Base::Host | Base::Nix => Vec::new(),
    });
    let installed: BTreeSet<Digest> = installed.map(|dependency| dependency.digest).collect();
    move |id, build| named.contains(&id) || build.artifacts.iter().any(|digest| installed.contains(digest))
}

fn kept_artifacts<'s>(swarm: &'s Swarm, profile: Option<&'s Name>) -> impl Iterator<Item = &'s Artifact> {
    let is_of = move |run: &RunId| {
        profile.is_none_or(|name| swarm.runs.get(run).is_some_and(|run| run.profile == *name))
    };
    let packages = swarm.packages.values().filter(move |p| is_of(&p.run));
    // Results are kept as long as a package with their key. All of them together need no lookups.
    let reusable = move |p: &Package| profile.and_then(|_| swarm.built.get(&p.build_key));
    let all_reusable = profile.is_none().then(|| swarm.built.values()).into_iter().flatten();
    let of_runs = packages.flat_map(move |p| p.artifacts.iter().chain(artifacts_of(reusable(p))));
    let of_runs = of_runs.chain(all_reusable.flat_map(|built| &built.artifacts));
    let channels =
        swarm.profiles.iter().filter(move |(name, _)| profile.is_none_or(|profile| profile == *name));
    let held = |p: &'s Profile| p.channel.held.values().map(|held| &held.artifact);
    let history = |p: &'s Profile| p.stable.artifacts.values().chain(p.staging.artifacts.values());
    of_runs.chain(channels.flat_map(move |(_, p)| held(p).chain(history(p))))
}

fn artifacts_of(built: Option<&Built>) -> impl Iterator<Item = &Artifact> {
    built.into_iter().flat_map(|built| &built.artifacts)
}

fn once<'s>(all: impl Iterator<Item = &'s Artifact>) -> Vec<Artifact> {
    let key = |a: &'s Artifact| {
        let build_id = a.target.portage().map(|target| target.build_id);
        ((a.target.id(), build_id, a.digest), a)
    };
    let once: BTreeMap<(&str, Option<u32>, Digest), &Artifact> = all.map(key).collect();
    once.into_values().cloned().collect()
}
