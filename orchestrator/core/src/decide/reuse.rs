//! Finds packages that need no build: they were built before, for any profile, or are known to be
//! broken.

use crate::{
    event::Event,
    keys::keys,
    plan, quarantine,
    reason::{Reason, Unchanged},
    retention,
    shared::Shared,
    state::{Built, Package, Run, Swarm},
};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{
    digest::Digest,
    id::*,
    name::Name,
    state::PackageState,
    time::TimeMs,
    wire::{
        artifact::Artifact,
        plan::{PlanPackage, PlanReport},
    },
};

/// Events for the packages of a new plan that are reused or held in quarantine.
pub(super) fn known(
    swarm: &Swarm,
    now: TimeMs,
    run: RunId,
    first: PackageId,
    report: &PlanReport,
) -> Vec<Event> {
    let record = swarm.runs.get(&run);
    let profile = record.map(|run| &run.profile);
    let rule =
        profile.and_then(|name| swarm.profiles.get(name)).map(|p| p.request.rebuild).unwrap_or_default();
    let own = profile.map(|profile| Paths::of(swarm, profile)).unwrap_or_default();
    let nodes = plan::nodes(report);
    let mut index = profile.map(|profile| Index::of(swarm, profile, None)).unwrap_or_default();
    let keys = keys(report, &nodes);
    let stored = |&node: &u32| swarm.built.get(&keys.get(node as usize)?.of(rule));
    let mut events = Vec::new();
    for (n, (node, keys)) in nodes.iter().zip(&keys).enumerate() {
        let key = keys.of(rule);
        let package = PackageId(first.0 + n as u64);
        let members = || node.members.iter().map(|&m| &report.packages[m as usize]);
        let unknown = members()
            .filter_map(PlanPackage::portage)
            .any(|p| p.live.as_ref().is_some_and(|live| live.commit.is_none()));
        let fits = |built: &&Built| {
            let stale = unknown && now.since(built.at) >= swarm.policy.live_max_age_ms;
            let fits = !swarm.rebuilds.contains_key(&key) && !stale && own.admit(&built.artifacts);
            let needed = node.runtime.iter().chain(&node.cut).filter_map(stored);
            let starts = starts_with(swarm, &built.artifacts, needed.flat_map(|built| &built.artifacts));
            // Packages that do not fit are built, and the intake then refuses them with a reason.
            fits && starts && index.has_room(&built.artifacts)
        };
        if let Some(built) = swarm.built.get(&key).filter(fits) {
            index.add(&built.artifacts);
            events.push(Event::PackageReused { package, artifacts: built.artifacts.clone() });
        } else if let Some(broken) =
            record.and_then(|record| quarantine::keeps(swarm, now, record, &keys.strict))
        {
            let unchanged = Unchanged { since: broken.run, before: broken.reason.clone() };
            events.push(Event::PackageHeld { package, reason: Reason::Unchanged(Box::new(unchanged)) });
        }
    }
    events
}

/// Events for packages with the same build key in active runs of other profiles, which reuse this result.
pub(super) fn by_others(swarm: &Swarm, received: PackageId, artifacts: &Shared<Vec<Artifact>>) -> Vec<Event> {
    let Some(package) = swarm.packages.get(&received) else { return Vec::new() };
    let others = swarm.runs.iter().filter(|(id, run)| **id != package.run && !run.state.is_over());
    let mut events = Vec::new();
    for (_, run) in others {
        let same =
            run.open.iter().filter_map(|(_, id)| Some((*id, swarm.packages.get(id)?))).find(|(_, p)| {
                p.build_key == package.build_key
                    && matches!(p.state, PackageState::Blocked | PackageState::Needed)
            });
        if let Some((package, record)) = same
            && Paths::of(swarm, &run.profile).admit(artifacts)
            && starts_with(swarm, artifacts, installed(swarm, record))
            && Index::of(swarm, &run.profile, Some(run)).has_room(artifacts)
        {
            events.push(Event::PackageReused { package, artifacts: artifacts.clone() });
        }
    }
    events
}

/// Whether packages work with the given versions of their dependencies, which may lack a soname that the
/// packages were linked with although their sub-slot, and so the build key, is the same.
fn starts_with<'a>(swarm: &Swarm, these: &[Artifact], needed: impl Iterator<Item = &'a Artifact>) -> bool {
    if swarm.collisions.is_empty() {
        return true;
    }
    let needed: BTreeSet<Digest> = needed.map(|artifact| artifact.digest).collect();
    these.iter().all(|artifact| swarm.collisions.lacking(artifact.digest, &needed).is_none())
}

/// The received artifacts that a package needs at run time.
fn installed<'s>(swarm: &'s Swarm, package: &'s Package) -> impl Iterator<Item = &'s Artifact> {
    let needed = package.runtime_deps.iter().chain(&package.cut_deps);
    needed.filter_map(|id| swarm.packages.get(id)).flat_map(|needed| needed.artifacts.iter())
}

/// The artifacts in a profile's index, plus those that a run adds.
#[derive(Default)]
struct Index {
    has: BTreeSet<Digest>,
    /// Remaining space in bytes.
    room: u64,
}

impl Index {
    /// The index of what the profile's channel holds and what `run` has received.
    fn of(swarm: &Swarm, profile: &Name, run: Option<&Run>) -> Self {
        let mut index = Self { has: BTreeSet::new(), room: swarm.policy.index_bytes };
        if let Some(profile) = swarm.profiles.get(profile) {
            profile.channel.held.values().for_each(|held| index.add([&held.artifact]));
        }
        let packages = run.into_iter().flat_map(|run| &run.packages).filter_map(|id| swarm.packages.get(id));
        packages.for_each(|package| index.add(&package.artifacts));
        index
    }

    fn has_room(&self, artifacts: &[Artifact]) -> bool {
        let more = artifacts.iter().filter(|artifact| !self.has.contains(&artifact.digest));
        more.map(|artifact| artifact.index_bytes).sum::<u64>() <= self.room
    }

    fn add<'a>(&mut self, artifacts: impl IntoIterator<Item = &'a Artifact>) {
        for artifact in artifacts {
            if self.has.insert(artifact.digest) {
                self.room = self.room.saturating_sub(artifact.index_bytes);
            }
        }
    }
}

/// The paths and digests that a profile may have published. The content of a published path never changes, so
/// another profile's build with the same path and other content cannot be reused.
#[derive(Default)]
struct Paths(BTreeMap<String, Digest>);

impl Paths {
    fn of(swarm: &Swarm, profile: &Name) -> Self {
        let known = retention::artifacts(swarm, Some(profile));
        Self(known.into_iter().filter_map(|a| Some((a.target.portage()?.path(), a.digest))).collect())
    }

    fn admit(&self, artifacts: &[Artifact]) -> bool {
        let mut paths = artifacts.iter().filter_map(|a| Some((a.target.portage()?.path(), a.digest)));
        paths.all(|(path, digest)| self.0.get(&path).is_none_or(|known| *known == digest))
    }
}
