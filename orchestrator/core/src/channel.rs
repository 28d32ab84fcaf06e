//! What the runs of a profile lead to: the content of the next generation of its channel ([`generations`]). A
//! working version stays until its successor can be installed together with everything that it needs at run
//! time.
//!
//! The channel follows runs that have ended and runs that stand still ([`crate::standstill`]). From
//! each it takes the packages that are *installable*: received, together with their run-time
//! closure. Packages that the run plans but cannot offer, and packages that the resolver refused,
//! stay as they were, with the closure they had. Everything else is removed.
//!
//! A library that stays may have another ABI (sub-slot) than the one that the run offers for the same slot. A
//! root file system has room for only one of them, so packages bound to the old one stay beside their
//! successors. Otherwise the kept package could not be installed on a system that also has one of those.
//!
//! The channel of a Nix profile works differently: see [`roots`].
//!
//! Of two packages that cannot be installed together, the channel offers the one it has had for longer.
//! The other, and what needs it, is treated like a package that could not be built. So a library that lost a
//! soname waits for the rebuild of what needs it ([`crate::decide`] reuses no such package).

pub mod generations;
pub(crate) mod pins;
mod roots;

pub(crate) use roots::missing;

use crate::state::{Channel, ChannelArtifact, Exclusion, Generation, Package, Run, Swarm};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{
    cpv::Cpv,
    digest::Digest,
    id::{PackageId, RunId},
    name::Name,
    state::PackageState,
    wire::{artifact::Artifact, base::Base, drone::Target, plan::PlanProblem},
};

/// `category/name` and slot: versions in the same slot replace each other.
type SlotKey<'s> = (&'s str, &'s str);

fn slot_key(target: &Target) -> SlotKey<'_> {
    match target {
        Target::Portage(target) => (target.cpv.cp(), &target.slot),
        // Store paths replace nothing.
        Target::Nix(target) => (target.base_name(), &target.output),
    }
}

/// The channel after run `id` has ended or stands still. `None` if the channel does not follow that run,
/// which includes every run that tries a candidate.
pub(crate) fn follow(swarm: &Swarm, id: RunId) -> Option<Channel> {
    let run = swarm.runs.get(&id)?;
    let old = &swarm.profiles.get(&run.profile)?.channel;
    if old.run > Some(id) || run.on_trial {
        return None;
    }
    if run.base == Base::Nix {
        return Some(roots::follow(swarm, id, run, old));
    }
    let mut offered = offered(swarm, id, run);
    let packages = run.packages.iter().filter_map(|p| swarm.packages.get(p));
    let planned: BTreeSet<SlotKey<'_>> = packages.flat_map(|p| &p.targets).map(slot_key).collect();
    let refused = Refused::by(&run.problems);
    let mut apart = BTreeMap::new();
    loop {
        let retention = Retention { old, planned: &planned, refused: &refused, subslots: subslots(&offered) };
        let found = collide(swarm, old, &offered, retention.kept());
        if found.is_empty() {
            let held = retention.retained_beside(&offered);
            return Some(Channel { run: Some(id), held, apart, ..Channel::default() });
        }
        // Kept packages may collide as well.
        withdraw(&mut offered, &found);
        apart.extend(found);
    }
}

/// Packages of an offer that cannot be installed beside one with precedence. Packages that stay have
/// precedence, then those with a version in the channel, then those received earlier.
fn collide(
    swarm: &Swarm,
    old: &Channel,
    offered: &BTreeMap<Digest, ChannelArtifact>,
    kept: BTreeSet<Digest>,
) -> BTreeMap<Digest, Exclusion> {
    let mut found = BTreeMap::new();
    if swarm.collisions.is_empty() {
        return found;
    }
    let known = old.held.values().filter(|held| held.current);
    let known: BTreeSet<SlotKey<'_>> = known.map(|held| slot_key(&held.artifact.target)).collect();
    let order = |held: &&ChannelArtifact| {
        let artifact = &held.artifact;
        (
            !known.contains(&slot_key(&artifact.target)),
            artifact.received_at,
            artifact.attempt,
            artifact.digest,
        )
    };
    let mut candidates: Vec<&ChannelArtifact> = offered.values().collect();
    candidates.sort_by_key(order);
    let cpv = |digest: Digest| {
        let held = offered.get(&digest).or(old.held.get(&digest));
        held.and_then(|held| held.artifact.target.portage()).map(|target| &target.cpv)
    };
    let mut first = kept;
    for Artifact { digest, target, .. } in candidates.into_iter().map(|held| &held.artifact) {
        let other = swarm.collisions.of(*digest).find(|(other, _)| first.contains(other));
        let other = other.and_then(|(other, conflict)| Some((cpv(other)?, conflict)));
        match other.and_then(|(beside, conflict)| Some((&target.portage()?.cpv, beside, conflict))) {
            Some((cpv, beside, conflict)) => {
                let (cpv, beside, conflict) = (cpv.clone(), beside.clone(), conflict.clone());
                found.insert(*digest, Exclusion { cpv, beside, conflict });
            }
            None => _ = first.insert(*digest),
        }
    }
    found
}

/// Removes packages from an offer, together with everything that cannot be installed without them.
fn withdraw(offered: &mut BTreeMap<Digest, ChannelArtifact>, these: &BTreeMap<Digest, Exclusion>) {
    offered.retain(|digest, _| !these.contains_key(digest));
    loop {
        let lacks = |held: &ChannelArtifact| held.needs.iter().any(|needed| !offered.contains_key(needed));
        let stranded: Vec<Digest> = offered.iter().filter(|(_, h)| lacks(h)).map(|(&d, _)| d).collect();
        if stranded.is_empty() {
            return;
        }
        offered.retain(|digest, _| !stranded.contains(digest));
    }
}

/// The artifacts of a run that can be installed.
fn offered(swarm: &Swarm, id: RunId, run: &Run) -> BTreeMap<Digest, ChannelArtifact> {
    let artifacts = |p: &PackageId| swarm.packages.get(p).map_or(&[][..], |p| &p.artifacts);
    let packages = run.packages.iter().filter_map(|p| swarm.packages.get(p));
    let is_installable = |package: &Package| run.graph.is_installable(package.bundle);
    let is_there = |p: &PackageId| swarm.packages.get(p).is_some_and(|package| is_installable(package));
    let complete = packages.filter(|p| is_installable(p) && p.cut_deps.iter().all(is_there));
    let held = complete.flat_map(|package| {
        // The members of a cycle were built for each other.
        let needed = package.runtime_deps.iter().chain(&package.cut_deps).flat_map(artifacts);
        let needed = needed.chain(&package.artifacts);
        let needed: BTreeSet<Digest> = needed.map(|a| a.digest).collect();
        package.artifacts.iter().map(move |artifact| {
            let mut needs = needed.clone();
            needs.remove(&artifact.digest);
            (artifact.digest, ChannelArtifact { artifact: artifact.clone(), needs, current: true, run: id })
        })
    });
    let mut offered = held.collect();
    // A package that needs an incomplete package is incomplete as well.
    withdraw(&mut offered, &BTreeMap::new());
    offered
}

fn subslots(offered: &BTreeMap<Digest, ChannelArtifact>) -> BTreeMap<SlotKey<'_>, &str> {
    let targets = offered.values().map(|held| &held.artifact.target);
    targets.filter_map(|target| Some((slot_key(target), target.portage()?.subslot.as_str()))).collect()
}

/// Determines which of a channel's old contents stay.
struct Retention<'s> {
    old: &'s Channel,
    planned: &'s BTreeSet<SlotKey<'s>>,
    refused: &'s Refused<'s>,
    /// The sub-slot that the run offers in each slot.
    subslots: BTreeMap<SlotKey<'s>, &'s str>,
}

impl Retention<'_> {
    /// Old packages for which the run should have offered a successor but did not.
    fn kept(&self) -> BTreeSet<Digest> {
        let kept = self.old.held.iter().filter(|(_, held)| held.current && self.is_kept(held));
        kept.map(|(&digest, _)| digest).collect()
    }

    /// The offer, and the old packages that stay beside it.
    fn retained_beside(
        &self,
        offered: &BTreeMap<Digest, ChannelArtifact>,
    ) -> BTreeMap<Digest, ChannelArtifact> {
        let kept = self.kept();
        let mut open: Vec<Digest> = kept.iter().copied().collect();
        let mut held = offered.clone();
        while let Some(digest) = open.pop() {
            let Some(stays) = self.old.held.get(&digest).filter(|_| !held.contains_key(&digest)) else {
                continue;
            };
            held.insert(digest, ChannelArtifact { current: kept.contains(&digest), ..stays.clone() });
            open.extend(&stays.needs);
            if self.is_contested(stays) {
                open.extend(self.bound_to(digest));
            }
        }
        held
    }

    /// Whether the run should have offered a successor but did not.
    fn is_kept(&self, held: &ChannelArtifact) -> bool {
        let key = slot_key(&held.artifact.target);
        let due = self.planned.contains(&key) || self.refused.covers(key.0);
        due && !self.subslots.contains_key(&key)
    }

    /// Whether the run offers another ABI in the same slot.
    fn is_contested(&self, held: &ChannelArtifact) -> bool {
        let Some(target) = held.artifact.target.portage() else { return false };
        let key = slot_key(&held.artifact.target);
        self.subslots.get(&key).is_some_and(|offered| *offered != target.subslot)
    }

    /// Old packages that were built against an old library and have a successor.
    fn bound_to(&self, library: Digest) -> impl Iterator<Item = Digest> {
        let bound = self.old.held.iter().filter(move |(_, held)| held.needs.contains(&library));
        let replaced = bound.filter(|(_, held)| self.subslots.contains_key(&slot_key(&held.artifact.target)));
        replaced.map(|(&digest, _)| digest)
    }
}

#[derive(Default)]
struct Refused<'s> {
    /// Whether some refusal names no package, so that it may concern any.
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

/// `category/name` of an atom such as `>=dev-libs/icu-75:0[-doc]`. `None` for a set or a pattern.
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

/// The artifacts that may share the profile's index with a package: those received by its run, and those in
/// the channel, some of which may stay.
#[must_use]
pub fn retained_beside(swarm: &Swarm, id: PackageId) -> BTreeSet<Digest> {
    let run = swarm.packages.get(&id).and_then(|package| swarm.runs.get(&package.run));
    let Some(run) = run else { return BTreeSet::new() };
    let received = run.packages.iter().filter_map(|p| swarm.packages.get(p)).flat_map(|p| &p.artifacts);
    let held = swarm.profiles.get(&run.profile).into_iter().flat_map(|profile| profile.channel.held.keys());
    received.map(|artifact| artifact.digest).chain(held.copied()).collect()
}

/// Packages that a received package needs at run time, directly or indirectly, and that its run has not
/// received. Until they are received, the package is not published.
#[must_use]
pub fn lacks(swarm: &Swarm, id: PackageId) -> Vec<PackageId> {
    let received = |id: &PackageId| swarm.packages.get(id).is_some_and(|p| p.state == PackageState::Received);
    runtime_closure(swarm, id).into_iter().filter(|dep| *dep != id && !received(dep)).collect()
}

/// Why a received package of the run that the channel follows was left out: its conflict with a package in
/// the channel. `None` if it was not left out.
#[must_use]
pub fn exclusion(swarm: &Swarm, id: PackageId) -> Option<&Exclusion> {
    let package = swarm.packages.get(&id)?;
    let channel = &swarm.profiles.get(&swarm.runs.get(&package.run)?.profile)?.channel;
    let follows = channel.run == Some(package.run);
    package.artifacts.iter().filter(|_| follows).find_map(|artifact| channel.apart.get(&artifact.digest))
}

/// The profile, and the generation of its staging channel in which a received package waits for promotion.
#[must_use]
pub fn waits(swarm: &Swarm, id: PackageId) -> Option<(&Name, u64)> {
    let package = swarm.packages.get(&id)?;
    let (name, profile) = swarm.profiles.get_key_value(&swarm.runs.get(&package.run)?.profile)?;
    let (stable, staged) = (profile.stable.current(), profile.waiting()?);
    let waits = |artifact: &Artifact| {
        let is_in = |generation: &Generation| generation.artifacts.contains(&artifact.digest);
        is_in(staged) && !stable.is_some_and(is_in)
    };
    package.artifacts.iter().any(waits).then_some((name, staged.number))
}

/// What is published instead of a received package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver<'s> {
    pub profile: &'s Name,
    /// The published generation of the stable channel, which does not have the package.
    pub generation: u64,
    /// Whether the channel is held after a rollback, so that a promotion publishes the package again.
    pub returns: bool,
}

/// What is published instead of a received package. `None` if the package is published, or if nothing has
/// been published yet.
#[must_use]
pub fn passed_over(swarm: &Swarm, id: PackageId) -> Option<PassedOver<'_>> {
    let package = swarm.packages.get(&id)?;
    let (name, profile) = swarm.profiles.get_key_value(&swarm.runs.get(&package.run)?.profile)?;
    let current = profile.stable.current()?;
    let mut missing =
        package.artifacts.iter().map(|a| a.digest).filter(|digest| !current.artifacts.contains(digest));
    let first = missing.next()?;
    let returns = profile.stable.held && profile.channel.held.contains_key(&first);
    Some(PassedOver { profile: name, generation: current.number, returns })
}

/// The first package that was left out among those that a package needs at run time.
#[must_use]
pub fn needs_excluded(swarm: &Swarm, id: PackageId) -> Option<(PackageId, &Exclusion)> {
    runtime_closure(swarm, id).into_iter().find_map(|dep| Some((dep, exclusion(swarm, dep)?)))
}

/// A package and everything that it needs at run time, directly or indirectly.
fn runtime_closure(swarm: &Swarm, id: PackageId) -> BTreeSet<PackageId> {
    let mut seen = BTreeSet::from([id]);
    let mut open = vec![id];
    while let Some(next) = open.pop() {
        let Some(package) = swarm.packages.get(&next) else { continue };
        let needed = package.runtime_deps.iter().chain(&package.cut_deps);
        open.extend(needed.filter(|&&dep| seen.insert(dep)));
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
