//! Which drones may build a package: by profile, system, memory, past failures, and exclusive groups.

use super::late::Ongoing;
use crate::{
    judge::{fetch, memory, own_signature},
    state::{Attempt, Drone, Ending, Package, Run, Swarm},
};
use swarm_common::{id::*, state::*};

/// The constraints on where one package may be built.
pub(super) struct Fit<'a> {
    run: &'a Run,
    package: &'a Package,
    avoided: Vec<DroneId>,
    /// The only drone to build it: for a Nix source, the one that made the plan, as long as it can.
    only: Option<DroneId>,
    /// The memory, in bytes, with which even a build with one job was killed; 0 if that has not happened.
    floor_bytes: u64,
    /// Whether some drone under consideration has enough memory; if none has, memory is ignored.
    memory_matters: bool,
    /// Whether the package was killed for its memory use, so that it must have its drone to itself.
    alone: bool,
}

/// The builds running on a drone.
#[derive(Default)]
pub(super) struct Neighbours {
    pub(super) builds: usize,
    /// Memory that the builds are expected to use, in bytes.
    bytes: u64,
    /// Whether one of the builds must have the drone to itself.
    alone: bool,
}

impl Neighbours {
    pub(super) fn of(swarm: &Swarm, id: DroneId, drone: &Drone, ongoing: &[Ongoing]) -> Self {
        let mut found = Self::default();
        for attempt in ongoing.iter().filter(|a| a.attempt.drone == id && a.is_building()) {
            found.builds += 1;
            if let Some((id, package)) = attempt.package() {
                found.bytes = found.bytes.saturating_add(package.memory_on(drone.facts.cores));
                found.alone |= memory::kills(swarm, id) > 0;
            }
        }
        found
    }
}

impl<'a> Fit<'a> {
    /// The constraints on `package`, given the drones under consideration.
    pub(super) fn new<'d>(
        swarm: &Swarm,
        run: &'a Run,
        (id, package): (PackageId, &'a Package),
        drones: impl Iterator<Item = (DroneId, &'d Drone)> + Clone,
    ) -> Self {
        let tried = &package.attempts[package.forgiven.min(package.attempts.len())..];
        let tried = tried.iter().filter_map(|a| swarm.attempts.get(a));
        let mut avoided: Vec<DroneId> = tried.filter(|a| speaks_against(a)).map(|a| a.drone).collect();
        let floor_bytes = memory::floor_bytes(swarm, id);
        let able = |d: &Drone| d.builds(run, package) && memory::fits(floor_bytes, d);
        // Drones on which the package failed are avoided only while another drone can build it.
        if !avoided.is_empty() && !drones.clone().any(|(id, d)| able(d) && !avoided.contains(&id)) {
            avoided.clear();
        }
        // Another drone would have to evaluate the snapshot to get the source.
        let planner = package.is_source().then(|| planner(swarm, run)).flatten();
        let only = planner.filter(|planner| {
            let mut drones = drones.clone();
            drones.any(|(id, d)| id == *planner && able(d) && !avoided.contains(&id))
        });
        let roomy = |d: &Drone| package.memory_on(d.facts.cores) <= d.facts.memory_for_a_build();
        let memory_matters = package.peak_memory_bytes > 0 && {
            let mut drones = drones;
            drones.any(|(_, d)| able(d) && roomy(d))
        };
        let alone = memory::kills(swarm, id) > 0;
        Self { run, package, avoided, only, floor_bytes, memory_matters, alone }
    }

    /// Whether the package may ever be built on this drone.
    pub(super) fn suits(&self, id: DroneId, drone: &Drone) -> bool {
        drone.builds(self.run, self.package)
            && memory::fits(self.floor_bytes, drone)
            && !self.avoided.contains(&id)
            && self.only.is_none_or(|only| only == id)
            && (!self.memory_matters
                || self.package.memory_on(drone.facts.cores) <= drone.facts.memory_for_a_build())
    }

    /// Whether a drone with `free_bytes` of free memory (0 if unknown) has room now. Builds already
    /// running there may not have reached their peak yet.
    pub(super) fn has_room(&self, drone: &Drone, free_bytes: u64, beside: &Neighbours) -> bool {
        let bytes = self.package.memory_on(drone.facts.cores);
        let fits = !self.memory_matters || free_bytes == 0 || bytes <= free_bytes;
        let together = beside.bytes.saturating_add(bytes) <= drone.facts.memory_bytes;
        fits && (beside.builds == 0 || (together && !self.alone && !beside.alone))
    }
}

/// The drone that made the plan of a run.
fn planner(swarm: &Swarm, run: &Run) -> Option<DroneId> {
    Some(swarm.attempts.get(run.plan_attempts.last()?)?.drone)
}

/// Whether an attempt is a reason to avoid its drone.
fn speaks_against(attempt: &Attempt) -> bool {
    let own = own_signature(attempt).is_some()
        || matches!(&attempt.ending, Some(Ending::Failed(f)) if f.class == FailureClass::Drone);
    (own && !memory::was_killed(attempt)) || fetch::failed(attempt)
}

/// Exclusive groups, of which at most one package is built at a time, and which of them are in use.
pub(super) struct Groups<'a> {
    groups: &'a [Vec<String>],
    used: Vec<bool>,
}

impl<'a> Groups<'a> {
    pub(super) fn new(swarm: &'a Swarm, ongoing: &[Ongoing]) -> Self {
        let groups = &swarm.policy.exclusive;
        let mut found = Self { groups, used: vec![false; groups.len()] };
        for (_, package) in ongoing.iter().filter_map(Ongoing::package) {
            found.enter(package);
        }
        found
    }

    fn of(&self, package: &Package) -> impl Iterator<Item = usize> {
        let groups = self.groups.iter().enumerate();
        let names = &package.targets;
        groups.filter(|(_, g)| names.iter().any(|t| g.iter().any(|n| n == t.family()))).map(|(n, _)| n)
    }

    /// Whether another package of one of the package's groups is being built.
    pub(super) fn keep_out(&self, package: &Package) -> bool {
        self.of(package).any(|n| self.used[n])
    }

    /// Marks the package's groups as in use.
    pub(super) fn enter(&mut self, package: &Package) {
        let own: Vec<usize> = self.of(package).collect();
        for n in own {
            self.used[n] = true;
        }
    }
}

/// The entries up to the `most`-th one that the drone can build, and at most as many others among them:
/// packages that it cannot build must not displace those that it can.
pub(super) fn window<'r, E: 'r + Copy>(
    entries: impl IntoIterator<Item = &'r (E, PackageId)>,
    most: usize,
    is_own: impl Fn(PackageId) -> bool,
) -> impl Iterator<Item = &'r (E, PackageId)> {
    let (mut own, mut others) = (0, 0);
    let counted = entries.into_iter().map_while(move |entry| {
        let count = match own < most {
            true if is_own(entry.1) => &mut own,
            true => &mut others,
            false => return None,
        };
        *count += 1;
        Some((*count <= most).then_some(entry))
    });
    counted.flatten()
}
