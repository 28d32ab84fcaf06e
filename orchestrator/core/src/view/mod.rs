//! API views, computed from the state and the time by pure functions. Nothing here makes decisions. The
//! reasons for the states of packages are in [`crate::explain`].

mod alarm;
mod alike;
mod base;
mod build;
mod calendar;
mod candidate;
mod channel;
mod concern;
mod drone;
mod event;
mod healing;
mod history;
mod package;
mod rebuild_reasons;
mod refused;
mod run;
mod status;
mod why;

pub use alarm::{AlarmKind, alarms};
pub use alike::{Alike, alike};
pub use base::base;
pub use build::build;
pub use calendar::{pause, schedules};
pub use channel::{channel, generation};
pub use concern::{concern, severity, stops};
use drone::title;
pub use drone::{drone, drones};
pub use event::event;
pub use healing::healing;
pub use history::history;
pub use package::{package, packages};
pub use run::{run, runs};
pub use status::{concerns, status};
pub use why::{FindError, find, why};

use crate::{
    eligibility,
    state::{Profile, Run, Swarm},
};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{
    id::*,
    name::Name,
    state::*,
    wire::{
        admin::{CandidateRequest, CandidateView},
        calendar::TimerView,
        view::ProfileView,
    },
};

#[must_use]
pub fn profile(name: &Name, profile: &Profile) -> ProfileView {
    let current = profile.stable.current().or(profile.staging.current());
    ProfileView {
        name: name.clone(),
        builder: profile.request.builder,
        snapshot: profile.request.snapshot,
        source: profile.request.source.clone(),
        base: profile.request.base.clone(),
        rebuild: profile.request.rebuild,
        publish: profile.request.publish,
        generation: profile.generation,
        published_packages: profile.published_packages,
        // The HTTP handler fills it in.
        binhost: String::new(),
        candidates: profile.candidates.open().map(candidate).collect(),
        timer: profile.timer.as_ref().map(|timer| TimerView {
            every_ms: timer.every_ms,
            machine: timer.machine.clone(),
            ran_at: timer.ran_at,
        }),
        roots: current.into_iter().flat_map(|g| &g.roots).map(|r| r.root.clone()).collect(),
        upstreams: Vec::new(),
    }
}

fn candidate((run, content): (Option<RunId>, &CandidateRequest)) -> CandidateView {
    CandidateView { snapshot: content.snapshot, source: content.source.clone(), run }
}

/// The reverse dependencies within a run.
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

    /// The blocked packages that wait, directly or indirectly, for any of `roots`. The reverse of
    /// [`crate::explain::blocked_on`]: a package needs `root` for its build if one of its build
    /// dependencies has `root` in its run-time closure.
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

/// The packages of a run that cannot proceed without an admin.
fn unrecoverable<'s>(swarm: &'s Swarm, run: &'s Run) -> impl Iterator<Item = PackageId> + 's {
    run.packages.iter().copied().filter(|id| {
        swarm.packages.get(id).is_some_and(|package| match package.state {
            PackageState::Quarantined | PackageState::Cancelled => true,
            PackageState::Needed => eligibility::missing_capability(swarm, run, package).is_some(),
            PackageState::Blocked | PackageState::Delegated | PackageState::Received => false,
        })
    })
}
