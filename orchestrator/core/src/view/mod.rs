//! What people look at, computed from the state: pure functions of the swarm and the
//! time, so that the same state always reads the same. Nothing here decides anything;
//! which words explain a package is in [`crate::explain`].

mod alarm;
mod alike;
mod anew;
mod calendar;
mod concern;
mod drone;
mod healing;
mod package;
mod refused;
mod run;
mod status;
mod why;

pub use alarm::{Alarm, AlarmKind, alarms};
pub use alike::{Alike, alike};
pub use calendar::{pause, schedules};
pub use concern::of_outcome;
use drone::title;
pub use drone::{drone, drones};
pub use healing::healing;
pub use package::{package, packages};
pub use run::{run, runs};
pub use status::{Trouble, concerns, status};
pub use why::{FindError, find, why};

use crate::{package::Package, profile::Profile, run::Run, swarm::Swarm};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{
    digest::Digest,
    id::*,
    name::Name,
    state::*,
    wire::{artifact::Artifact, view::ProfileView},
};

/// A profile as people see it.
#[must_use]
pub fn profile(name: &Name, profile: &Profile) -> ProfileView {
    ProfileView {
        name: name.clone(),
        builder: profile.request.builder,
        snapshot: profile.request.snapshot,
        source: profile.request.source.clone(),
        base: profile.request.base.clone(),
        rebuild: profile.request.rebuild,
        generation: profile.generation,
        published_packages: profile.published_packages,
        binhost: format!("/binhost/{name}"),
    }
}

/// Every artifact that a kept run received, that a profile may use again, or that its stable
/// channel holds, once each, by published path; of one profile or of all.
#[must_use]
pub fn artifacts(swarm: &Swarm, profile: Option<&Name>) -> Vec<Artifact> {
    let wanted =
        |run: &RunId| profile.is_none_or(|name| swarm.runs.get(run).is_some_and(|run| run.profile == *name));
    let packages = swarm.packages.values().filter(|p| wanted(&p.run));
    let known = |p: &Package| swarm.built.get(&p.build_key).into_iter().flat_map(|built| &built.artifacts);
    let of_runs = packages.flat_map(|p| p.artifacts.iter().chain(known(p)));
    let channels = swarm.profiles.iter().filter(|(name, _)| profile.is_none_or(|profile| profile == *name));
    let published = channels.flat_map(|(_, p)| p.channel.held.values()).map(|held| &held.artifact);
    let all = of_runs.chain(published);
    let once: BTreeMap<(String, Digest), &Artifact> = all.map(|a| ((a.target.path(), a.digest), a)).collect();
    once.into_values().cloned().collect()
}

/// Who in a run depends on whom, the other way round.
struct Dependants {
    build: BTreeMap<PackageId, Vec<PackageId>>,
    runtime: BTreeMap<PackageId, Vec<PackageId>>,
}

impl Dependants {
    fn of(swarm: &Swarm, run: &Run) -> Self {
        let mut dependants = Self { build: BTreeMap::new(), runtime: BTreeMap::new() };
        for &id in &run.packages {
            let Some(package) = swarm.packages.get(&id) else { continue };
            for &dep in &package.build_deps {
                dependants.build.entry(dep).or_default().push(id);
            }
            for &dep in &package.runtime_deps {
                dependants.runtime.entry(dep).or_default().push(id);
            }
        }
        dependants
    }

    /// The blocked packages that wait, through however many others, for any of `roots`. The
    /// mirror of [`crate::explain::blocked_on`]: one needs `root` for its build if it needs
    /// for that something which has `root` among its run-time dependencies.
    fn waiting_for(&self, swarm: &Swarm, roots: impl IntoIterator<Item = PackageId>) -> BTreeSet<PackageId> {
        let mut open: Vec<PackageId> = roots.into_iter().collect();
        let mut seen: BTreeSet<PackageId> = open.iter().copied().collect();
        let mut waiting = BTreeSet::new();
        while let Some(next) = open.pop() {
            for &carrier in self.runtime.get(&next).into_iter().flatten() {
                if seen.insert(carrier) {
                    open.push(carrier);
                }
            }
            for &dependant in self.build.get(&next).into_iter().flatten() {
                let blocked =
                    swarm.packages.get(&dependant).is_some_and(|p| p.state == PackageState::Blocked);
                if blocked && waiting.insert(dependant) && seen.insert(dependant) {
                    open.push(dependant);
                }
            }
        }
        waiting
    }
}

/// The packages of a run that only a person can bring on.
fn hopeless<'s>(swarm: &'s Swarm, run: &'s Run) -> impl Iterator<Item = PackageId> + 's {
    run.packages.iter().copied().filter(|id| {
        let state = swarm.packages.get(id).map(|p| p.state);
        matches!(state, Some(PackageState::Quarantined | PackageState::Cancelled))
    })
}
