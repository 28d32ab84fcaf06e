//! Determines which states of a small world are equivalent.
//!
//! A key omits everything that no rule reads, such as numbers and texts, and contains only whether a deadline
//! has passed, because the clock of the search has no finer steps. It also omits learned durations and which
//! drone waits for work. They decide which of two drones gets a package, not what may happen to it, so each
//! state is explored only with the values from the shortest path to it.

use super::world::{DRONES, World, drone};
use swarm_common::{id::*, state::*, wire::concern::Offline};
use swarm_core::{
    quarantine,
    shared::Shared,
    state::{Attempt, Ending, Job, Package},
};

/// A state without the details that make no difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    faults: u8,
    /// The run: its state, the attempts at its plan, whether the next attempt must wait, and what was
    /// published.
    run: Option<(RunState, usize, bool, Option<u64>)>,
    packages: Vec<PackageKey>,
    attempts: Vec<AttemptKey>,
    drones: Vec<DroneKey>,
}

/// State, number of unmet dependencies, whether it must wait, and whether later runs skip it.
type PackageKey = (PackageState, u32, bool, bool);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct AttemptKey {
    /// The package; `None` for the plan.
    package: Option<PackageId>,
    drone: DroneId,
    held: bool,
    /// How the attempt ended, and its signature.
    ending: Option<(u8, Option<String>)>,
    /// Whether it counts against its package.
    counts: bool,
    /// Whether it counts against its drone.
    strikes: bool,
    /// Whether it failed after its drone's last success.
    recent: bool,
    /// Whether it began before the clock's last long step.
    old: bool,
    duplicate: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct DroneKey {
    draining: bool,
    /// Whether the drone is grounded, and whether the grounding has ended.
    grounded: Option<bool>,
    /// Whether the drone is offline, and whether on purpose.
    offline: Option<bool>,
    strikes: usize,
    groundings: u32,
    /// Whether the drone has returned since the clock's last long step.
    returned: bool,
}

/// Longer than all short steps together, but shorter than a long step.
const LONG_AGO_MS: u64 = 5_000;

impl Key {
    /// The key of a world's state.
    #[must_use]
    pub fn of(world: &World) -> Self {
        let swarm = &world.swarm;
        let run = swarm.runs.get(&RunId(1)).map(|run| {
            (run.state, run.plan_attempts.len(), run.plan_not_before > world.now, run.stood_still_at)
        });
        let package = |(&id, package): (&PackageId, &Shared<Package>)| {
            let lasting = quarantine::of(swarm, id).is_some();
            (package.state, package.unmet, package.not_before > world.now, lasting)
        };
        let mut attempts: Vec<AttemptKey> =
            swarm.attempts.iter().filter_map(|(id, attempt)| AttemptKey::of(world, *id, attempt)).collect();
        attempts.sort();
        Self {
            faults: world.faults,
            run,
            packages: swarm.packages.iter().map(package).collect(),
            attempts,
            drones: (0..DRONES).filter_map(|place| DroneKey::of(world, drone(place))).collect(),
        }
    }
}

impl AttemptKey {
    /// The key of an attempt; `None` if no rule reads the attempt any more.
    fn of(world: &World, id: AttemptId, attempt: &Attempt) -> Option<Self> {
        let swarm = &world.swarm;
        let held = world.held.iter().any(|held| held.contains(&id));
        let package = match attempt.job {
            Job::Build(package) => Some(package),
            Job::Plan(_) | Job::Base(_) => None,
        };
        let record = package.and_then(|package| swarm.packages.get(&package));
        let counts = attempt.has_failed()
            && record.is_some_and(|p| p.attempts.iter().skip(p.forgiven).any(|other| *other == id));
        let drone = swarm.drones.get(&attempt.drone)?;
        let strikes = drone.strikes.contains_key(&id);
        let matters = held || attempt.is_live() || counts || strikes;
        matters.then(|| Self {
            package,
            drone: attempt.drone,
            held,
            ending: attempt.ending.as_ref().map(|e| (number(e), e.signature().map(str::to_owned))),
            counts,
            strikes,
            recent: counts && attempt.ended_at.is_some_and(|at| at > drone.succeeded_at),
            old: attempt.is_live() && world.now.since(attempt.started_at) > LONG_AGO_MS,
            duplicate: attempt.duplicate_of.is_some(),
        })
    }
}

impl DroneKey {
    fn of(world: &World, id: DroneId) -> Option<Self> {
        let (drone, now) = (world.swarm.drones.get(&id)?, world.now);
        Some(Self {
            draining: drone.draining.is_some(),
            grounded: drone.grounded.as_ref().map(|grounding| grounding.until > now),
            offline: drone.offline.as_ref().map(|why| matches!(why, Offline::SignedOff(_))),
            strikes: drone.strikes.len(),
            groundings: drone.groundings,
            returned: world.swarm.live.returned.get(&id).is_some_and(|at| now.since(*at) < LONG_AGO_MS),
        })
    }
}

fn number(ending: &Ending) -> u8 {
    match ending {
        Ending::Accepted => 0,
        Ending::Failed(_) => 1,
        Ending::Rejected(_) => 2,
        Ending::HandedBack(_) => 3,
        Ending::Lost(_) => 4,
        Ending::Superseded => 5,
        Ending::Cancelled => 6,
    }
}
