//! Finds runs that stand still: the few remaining packages wait for their next try, a drone, or the
//! end of a pause. What such a run has received so far is published meanwhile; the run itself
//! continues.

use crate::{
    calendar,
    event::Event,
    state::{Drone, Run, Swarm},
};
use swarm_common::{id::*, state::*, time::TimeMs};

/// How soon a package must be able to proceed for the run to wait for it, in milliseconds.
const SOON_MS: u64 = 10_000;

/// Runs that stand still and have received more packages than when they last did.
pub(crate) fn found(swarm: &Swarm, now: TimeMs) -> Vec<Event> {
    let still = swarm.runs.iter().filter(|(_, run)| has_news(swarm, run) && is_still(swarm, now, run));
    let event = |(&run, record): (&RunId, &Run)| Event::RunStandsStill {
        run,
        received: record.count(PackageState::Received),
    };
    still.map(event).collect()
}

/// Whether the run has received unpublished packages. Reused packages are already published, unless
/// the profile has never published anything.
pub(crate) fn has_news(swarm: &Swarm, run: &Run) -> bool {
    let received = run.count(PackageState::Received);
    let first = swarm.profiles.get(&run.profile).is_some_and(|p| p.generation + p.staging_generation == 0);
    run.state == RunState::Building
        && received > run.stood_still_at.unwrap_or(0)
        && (first || received > run.reused)
}

/// Whether no package of the run can proceed for now.
pub(crate) fn is_still(swarm: &Swarm, now: TimeMs, run: &Run) -> bool {
    if run.count(PackageState::Delegated) > 0 {
        return false;
    }
    let online = |(id, drone): &(&DroneId, &Drone)| {
        drone.builds_for(run) && swarm.state_of(**id, drone) == DroneState::Online
    };
    let online: Vec<&Drone> = swarm.drones.iter().filter(online).map(|(_, drone)| drone).collect();
    let waits = |id: &PackageId| {
        let package = swarm.packages.get(id);
        package.is_some_and(|p| p.not_before > now + SOON_MS || !online.iter().any(|drone| drone.is_for(p)))
    };
    calendar::pause(swarm, now).is_some()
        || online.is_empty()
        || run.ready.iter().all(|(_, id)| waits(id))
        || now.since(moved_at(swarm, run)) > swarm.policy.idle_alarm_ms
}

/// When an attempt of the run last started or ended.
pub(crate) fn moved_at(swarm: &Swarm, run: &Run) -> TimeMs {
    let of_packages = run.packages.iter().filter_map(|p| swarm.packages.get(p)).flat_map(|p| &p.attempts);
    let attempts = run.plan_attempts.iter().chain(of_packages).filter_map(|a| swarm.attempts.get(a));
    let moved = attempts.map(|a| a.ended_at.unwrap_or(a.started_at)).max();
    moved.unwrap_or(run.started_at).max(run.started_at)
}
