//! What the stable channel of a profile holds: a working version stays until its successor
//! can be installed with all that it needs at run time.
//!
//! The channel follows the runs that end, and those of which nothing can go on for now
//! ([`crate::standstill`]). Of each it takes what is *installable*: received,
//! together with its run-time closure. What the run plans but cannot offer so, and what the
//! resolver refused, stays as it was, with the closure that it had. All else goes.
//!
//! A library that stays may be of another ABI (sub-slot) than the one that the run offers in
//! its place. A root file system has room for one of them, so what was bound to the old one
//! stays beside its successors: otherwise the kept package could be installed by nobody who
//! has one of those, too.
//!
//! Of two packages that install the same paths it offers the one that it has had for longer; the
//! other, and what needs it, is as what could not be built.

use crate::{collision::Apart, run::Run, swarm::Swarm};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{
    cpv::Cpv,
    digest::Digest,
    id::{PackageId, RunId},
    state::PackageState,
    wire::{artifact::Artifact, drone::Target, plan::PlanProblem},
};

/// A stable channel.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Channel {
    /// The run that it follows; none before the first that had packages to publish.
    pub run: Option<RunId>,
    /// Grows whenever what it holds is settled anew.
    pub revision: u64,
    /// What it holds, by digest. Whatever one of them needs is among them.
    pub held: BTreeMap<Digest, Held>,
    /// What it would hold besides, if that did not install the same paths as something there.
    #[serde(default)]
    pub apart: BTreeMap<Digest, Apart>,
}

/// An artifact of a channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The stored file.
    pub artifact: Artifact,
    /// The artifacts that must be installed for it to work.
    pub needs: BTreeSet<Digest>,
    /// It is what the channel offers in its slot; others are there only because something
    /// that stays needs them.
    pub current: bool,
    /// The last run that received it or took it over.
    pub run: RunId,
}

/// `category/name` and slot: versions of one place replace each other.
type Place<'s> = (&'s str, &'s str);

fn place(target: &Target) -> Place<'_> {
    (target.cpv.cp(), &target.slot)
}

/// The channel after the run `id` has ended or stands still, if it follows that one.
pub(crate) fn follow(swarm: &Swarm, id: RunId) -> Option<Channel> {
    let run = swarm.runs.get(&id)?;
    let old = &swarm.profiles.get(&run.profile)?.channel;
    if old.run > Some(id) {
        return None;
    }
    let mut offered = offered(swarm, id, run);
    let packages = run.packages.iter().filter_map(|p| swarm.packages.get(p));
    let planned: BTreeSet<Place<'_>> = packages.flat_map(|p| &p.targets).map(place).collect();
    let refused = Refused::by(&run.problems);
    let mut apart = BTreeMap::new();
    loop {
        let stay = Stay { old, planned: &planned, refused: &refused, subslots: subslots(&offered) };
        let found = collide(swarm, old, &offered, stay.kept());
        if found.is_empty() {
            let held = stay.beside(&offered);
            return Some(Channel { run: Some(id), revision: old.revision + 1, held, apart });
        }
        // What stays in their place may collide as well.
        withdraw(&mut offered, &found);
        apart.extend(found);
    }
}

/// What of an offer installs the same paths as something that comes first: what stays, what
/// has a version in the channel, what was received earlier.
fn collide(
    swarm: &Swarm,
    old: &Channel,
    offered: &BTreeMap<Digest, Held>,
    kept: BTreeSet<Digest>,
) -> BTreeMap<Digest, Apart> {
    let mut found = BTreeMap::new();
    if swarm.collisions.is_empty() {
        return found;
    }
    let known = old.held.values().filter(|held| held.current);
    let known: BTreeSet<Place<'_>> = known.map(|held| place(&held.artifact.target)).collect();
    let order = |held: &&Held| {
        let artifact = &held.artifact;
        (!known.contains(&place(&artifact.target)), artifact.received_at, artifact.attempt, artifact.digest)
    };
    let mut wanted: Vec<&Held> = offered.values().collect();
    wanted.sort_by_key(order);
    let cpv =
        |digest: Digest| offered.get(&digest).or(old.held.get(&digest)).map(|held| &held.artifact.target.cpv);
    let mut first = kept;
    for Artifact { digest, target, .. } in wanted.into_iter().map(|held| &held.artifact) {
        let other = swarm.collisions.of(*digest).find(|(other, _)| first.contains(other));
        match other.and_then(|(other, shared)| Some((cpv(other)?, shared))) {
            Some((beside, shared)) => {
                let (cpv, beside, shared) = (target.cpv.clone(), beside.clone(), shared.clone());
                found.insert(*digest, Apart { cpv, beside, shared });
            }
            None => _ = first.insert(*digest),
        }
    }
    found
}

/// Takes these from an offer, and all that cannot be installed without them.
fn withdraw(offered: &mut BTreeMap<Digest, Held>, these: &BTreeMap<Digest, Apart>) {
    offered.retain(|digest, _| !these.contains_key(digest));
    loop {
        let lacks = |held: &Held| held.needs.iter().any(|needed| !offered.contains_key(needed));
        let stranded: Vec<Digest> = offered.iter().filter(|(_, h)| lacks(h)).map(|(&d, _)| d).collect();
        if stranded.is_empty() {
            return;
        }
        offered.retain(|digest, _| !stranded.contains(digest));
    }
}

/// What a run has that can be installed.
fn offered(swarm: &Swarm, id: RunId, run: &Run) -> BTreeMap<Digest, Held> {
    let artifacts = |p: &PackageId| swarm.packages.get(p).map_or(&[][..], |p| &p.artifacts);
    let packages = run.packages.iter().filter_map(|p| swarm.packages.get(p));
    let installable = packages.filter(|p| run.graph.is_installable(p.bundle));
    let held = installable.flat_map(|package| {
        // The members of a cycle were built for each other.
        let needed = package.runtime_deps.iter().flat_map(artifacts).chain(&package.artifacts);
        let needed: BTreeSet<Digest> = needed.map(|a| a.digest).collect();
        package.artifacts.iter().map(move |artifact| {
            let mut needs = needed.clone();
            needs.remove(&artifact.digest);
            (artifact.digest, Held { artifact: artifact.clone(), needs, current: true, run: id })
        })
    });
    held.collect()
}

fn subslots(offered: &BTreeMap<Digest, Held>) -> BTreeMap<Place<'_>, &str> {
    let targets = offered.values().map(|held| &held.artifact.target);
    targets.map(|target| (place(target), target.subslot.as_str())).collect()
}

/// What of an old channel stays.
struct Stay<'s> {
    old: &'s Channel,
    planned: &'s BTreeSet<Place<'s>>,
    refused: &'s Refused<'s>,
    /// The sub-slot that the run offers in each place.
    subslots: BTreeMap<Place<'s>, &'s str>,
}

impl Stay<'_> {
    /// What the run should have offered something in its place for.
    fn kept(&self) -> BTreeSet<Digest> {
        let kept = self.old.held.iter().filter(|(_, held)| held.current && self.is_kept(held));
        kept.map(|(&digest, _)| digest).collect()
    }

    /// What is offered, and what stays beside it.
    fn beside(&self, offered: &BTreeMap<Digest, Held>) -> BTreeMap<Digest, Held> {
        let kept = self.kept();
        let mut open: Vec<Digest> = kept.iter().copied().collect();
        let mut held = offered.clone();
        while let Some(digest) = open.pop() {
            let Some(stays) = self.old.held.get(&digest).filter(|_| !held.contains_key(&digest)) else {
                continue;
            };
            held.insert(digest, Held { current: kept.contains(&digest), ..stays.clone() });
            open.extend(&stays.needs);
            if self.is_contested(stays) {
                open.extend(self.bound_to(digest));
            }
        }
        held
    }

    /// The run should have offered something in its place and does not.
    fn is_kept(&self, held: &Held) -> bool {
        let place = place(&held.artifact.target);
        let due = self.planned.contains(&place) || self.refused.covers(place.0);
        due && !self.subslots.contains_key(&place)
    }

    /// The run offers another ABI in its place.
    fn is_contested(&self, held: &Held) -> bool {
        let target = &held.artifact.target;
        self.subslots.get(&place(target)).is_some_and(|offered| *offered != target.subslot)
    }

    /// What worked with an old library and has a successor.
    fn bound_to(&self, library: Digest) -> impl Iterator<Item = Digest> {
        let bound = self.old.held.iter().filter(move |(_, held)| held.needs.contains(&library));
        let replaced = bound.filter(|(_, held)| self.subslots.contains_key(&place(&held.artifact.target)));
        replaced.map(|(&digest, _)| digest)
    }
}

/// The packages that the resolver refused.
#[derive(Default)]
struct Refused<'s> {
    /// A refusal that names no package may be of any.
    any: bool,
    names: BTreeSet<&'s str>,
}

impl<'s> Refused<'s> {
    fn by(problems: &'s [PlanProblem]) -> Self {
        let mut refused = Self::default();
        for problem in problems {
            refused.any |= problem.atoms.is_empty();
            for atom in &problem.atoms {
                match name_of(atom) {
                    Some(name) => _ = refused.names.insert(name),
                    None => refused.any = true,
                }
            }
        }
        refused
    }

    fn covers(&self, name: &str) -> bool {
        self.any || self.names.contains(name)
    }
}

/// `category/name` of an atom such as `>=dev-libs/icu-75:0[-doc]`; none of a set or a pattern.
fn name_of(atom: &str) -> Option<&str> {
    let bare = atom.split([':', '[']).next().unwrap_or_default();
    let versioned = bare.trim_start_matches(['!', '~', '<', '>', '=']);
    let name = if bare.contains(['~', '<', '>', '=']) {
        let cpv: Cpv = versioned.trim_end_matches('*').parse().ok()?;
        versioned.get(..cpv.cp().len())?
    } else {
        versioned
    };
    let plain =
        !name.contains(['*', '@', ' ']) && name.split('/').filter(|part| !part.is_empty()).count() == 2;
    plain.then_some(name)
}

/// What a package shares the index of its profile with: what its run has received, and what the
/// channel holds, of which something may stay beside it.
#[must_use]
pub fn beside(swarm: &Swarm, id: PackageId) -> BTreeSet<Digest> {
    let run = swarm.packages.get(&id).and_then(|package| swarm.runs.get(&package.run));
    let Some(run) = run else { return BTreeSet::new() };
    let received = run.packages.iter().filter_map(|p| swarm.packages.get(p)).flat_map(|p| &p.artifacts);
    let held = swarm.profiles.get(&run.profile).into_iter().flat_map(|profile| profile.channel.held.keys());
    received.map(|artifact| artifact.digest).chain(held.copied()).collect()
}

/// What a received package needs at run time and its run did not receive, through however
/// many others: as long as there is something it is not published.
#[must_use]
pub fn lacks(swarm: &Swarm, id: PackageId) -> Vec<PackageId> {
    let received = |id: &PackageId| swarm.packages.get(id).is_some_and(|p| p.state == PackageState::Received);
    runtime_closure(swarm, id).into_iter().filter(|dep| *dep != id && !received(dep)).collect()
}

/// What a received package of the run that the channel follows has in common with something
/// there, if it is not published for that.
#[must_use]
pub fn apart(swarm: &Swarm, id: PackageId) -> Option<&Apart> {
    let package = swarm.packages.get(&id)?;
    let channel = &swarm.profiles.get(&swarm.runs.get(&package.run)?.profile)?.channel;
    let follows = channel.run == Some(package.run);
    package.artifacts.iter().filter(|_| follows).find_map(|artifact| channel.apart.get(&artifact.digest))
}

/// The first of what a package needs at run time that is not published for that.
#[must_use]
pub fn needs_apart(swarm: &Swarm, id: PackageId) -> Option<(PackageId, &Apart)> {
    runtime_closure(swarm, id).into_iter().find_map(|dep| Some((dep, apart(swarm, dep)?)))
}

/// A package and all that it needs at run time, through however many others.
fn runtime_closure(swarm: &Swarm, id: PackageId) -> BTreeSet<PackageId> {
    let mut seen = BTreeSet::from([id]);
    let mut open = vec![id];
    while let Some(next) = open.pop() {
        let Some(package) = swarm.packages.get(&next) else { continue };
        open.extend(package.runtime_deps.iter().filter(|&&dep| seen.insert(dep)));
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_in_an_atom_is_found_and_a_set_has_none() {
        for (atom, name) in [
            ("dev-libs/icu", Some("dev-libs/icu")),
            (">=dev-libs/icu-75.1-r2:0/75[-doc]", Some("dev-libs/icu")),
            ("=dev-lang/python-3.13*", Some("dev-lang/python")),
            ("~x11-libs/gtk+-3.24", Some("x11-libs/gtk+")),
            ("dev-libs/icu::gentoo", Some("dev-libs/icu")),
            ("media-libs/font-7x13[x]", Some("media-libs/font-7x13")),
            ("@world", None),
            ("banner", None),
            ("*/*", None),
            (">=nonsense", None),
        ] {
            assert_eq!(name_of(atom), name, "{atom}");
        }
    }
}
