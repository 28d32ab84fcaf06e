//! Which states of a small world are the same.
//!
//! A key has nothing that no rule reads, such as numbers and texts, and of a deadline only whether it has passed: the
//! clock of the search has no finer steps. It also lacks learned durations and which drone waits for work. They decide
//! which of two drones gets a package, not what may happen to it, so each state is explored only with those that the
//! shortest path to it led to.

use super::world::{DRONES, World, drone};
use swarm_common::{id::*, state::*, wire::concern::Offline};
use swarm_core::{
    quarantine,
    state::{Attempt, Ending, Job, Package},
};

/// A state, without what makes no difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    troubles: u8,
    /// The run: its state, attempts at its plan, whether the next must wait, and what was published.
    run: Option<(RunState, usize, bool, Option<u64>)>,
    packages: Vec<PackageKey>,
    attempts: Vec<AttemptKey>,
    drones: Vec<DroneKey>,
}

/// State, unmet needs, whether it must wait, whether later runs will not try it.
type PackageKey = (PackageState, u32, bool, bool);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct AttemptKey {
    /// The package; `None` for the plan.
    package: Option<PackageId>,
    drone: DroneId,
    held: bool,
    /// How it ended and with which signature.
    ending: Option<(u8, Option<String>)>,
    /// It counts against its package.
    counts: bool,
    /// It counts against its drone.
    strikes: bool,
    /// It failed after the last success of its drone.
    recent: bool,
    /// It was begun before the clock's last long step.
    old: bool,
    duplicate: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct DroneKey {
    draining: bool,
    /// Whether it is grounded, and whether that is over.
    grounded: Option<bool>,
    /// Whether it is offline, and whether on purpose.
    offline: Option<bool>,
    strikes: usize,
    groundings: u32,
    /// It has come back since the clock's last long step.
    returned: bool,
}

/// Longer than all short steps together, and shorter than a long one.
const LONG_AGO_MS: u64 = 5_000;

impl Key {
    /// The key of a world's state.
    #[must_use]
    pub fn of(world: &World) -> Self {
        let swarm = &world.swarm;
        let run = swarm.runs.get(&RunId(1)).map(|run| {
            (run.state, run.plan_attempts.len(), run.plan_not_before > world.now, run.stood_still_at)
        });
        let package = |(&id, package): (&PackageId, &Package)| {
            let lasting = quarantine::of(swarm, id).is_some();
            (package.state, package.unmet, package.not_before > world.now, lasting)
        };
        let mut attempts: Vec<AttemptKey> =
            swarm.attempts.iter().filter_map(|(id, attempt)| AttemptKey::of(world, *id, attempt)).collect();
        attempts.sort();
        Self {
            troubles: world.troubles,
            run,
            packages: swarm.packages.iter().map(package).collect(),
            attempts,
            drones: (0..DRONES).filter_map(|place| DroneKey::of(world, drone(place))).collect(),
        }
    }
}

impl AttemptKey {
    /// Nothing for an attempt that no rule looks at any more.
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
