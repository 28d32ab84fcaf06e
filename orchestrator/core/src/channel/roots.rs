//! The channel of a Nix profile: all store paths that a run has received, and the path of each attribute.
//!
//! An attribute moves only when the run has received its whole closure, so a host that follows it never has
//! to compile. Until then it keeps its path and closure. An attribute that the profile no longer has is
//! dropped, but not one that failed to evaluate.

use super::lacks;
use crate::state::{Channel, ChannelArtifact, ChannelRoot, Run, Swarm};
use std::collections::BTreeMap;
use swarm_common::{
    digest::Digest,
    id::{PackageId, RunId},
    wire::nix::{NixRoot, base_name},
};

pub(super) fn follow(swarm: &Swarm, id: RunId, run: &Run, old: &Channel) -> Channel {
    let mut held: BTreeMap<Digest, ChannelArtifact> = BTreeMap::new();
    for package in &run.packages {
        held.extend(received(swarm, id, *package));
    }
    let mut roots: Vec<ChannelRoot> = Vec::new();
    for root in &run.roots {
        let before = old.roots.iter().find(|before| before.root.attribute == root.attribute);
        if missing(swarm, run, root).is_none() {
            let same = before.filter(|before| before.root == *root).cloned();
            roots.push(same.unwrap_or_else(|| ChannelRoot { root: root.clone(), run: id, at: swarm.at }));
        } else {
            roots.extend(before.cloned());
        }
    }
    let failed = |attribute: &String| run.problems.iter().any(|problem| problem.atoms.contains(attribute));
    let stay = old.roots.iter().filter(|before| failed(&before.root.attribute));
    roots.extend(stay.cloned());
    let mut open: Vec<Digest> = roots.iter().flat_map(|root| archives(old, &root.root.path)).collect();
    while let Some(digest) = open.pop() {
        if let Some(stays) = old.held.get(&digest).filter(|_| !held.contains_key(&digest)) {
            open.extend(&stays.needs);
            held.insert(digest, ChannelArtifact { current: false, ..stays.clone() });
        }
    }
    Channel { run: Some(id), held, roots, ..Channel::default() }
}

/// The archives of a package of the run, each with the store paths that it refers to.
fn received(swarm: &Swarm, run: RunId, id: PackageId) -> Vec<(Digest, ChannelArtifact)> {
    let Some(package) = swarm.packages.get(&id) else { return Vec::new() };
    let needed = package.runtime_deps.iter().filter_map(|dep| swarm.packages.get(dep));
    let needed = needed.flat_map(|dep| &dep.artifacts).chain(&package.artifacts);
    let archives = |artifact: &swarm_common::wire::artifact::Artifact| {
        let references = |name: &&str| {
            artifact.nar.as_ref().is_some_and(|nar| nar.references.iter().any(|reference| reference == name))
        };
        let needs = needed.clone().filter(|other| {
            let name = other.target.nix().map(|target| target.base_name());
            other.digest != artifact.digest && name.is_some_and(|name| references(&name))
        });
        let needs = needs.map(|other| other.digest).collect();
        (artifact.digest, ChannelArtifact { artifact: artifact.clone(), needs, current: true, run })
    };
    package.artifacts.iter().map(archives).collect()
}

/// The first package that the run has not received in the closure of a root's path. A path that the run does
/// not plan comes from an upstream cache, which had it when the plan arrived.
pub(crate) fn missing(swarm: &Swarm, run: &Run, root: &NixRoot) -> Option<PackageId> {
    let id = *run.outputs.get(base_name(&root.path))?;
    let received = swarm.packages.get(&id).is_some_and(|package| !package.artifacts.is_empty());
    if received { lacks(swarm, id).first().copied() } else { Some(id) }
}

/// The archives of a store path in a channel.
fn archives(channel: &Channel, path: &str) -> impl Iterator<Item = Digest> {
    let is =
        move |held: &&ChannelArtifact| held.artifact.target.nix().is_some_and(|target| target.path == path);
    channel.held.values().filter(is).map(|held| held.artifact.digest)
}
