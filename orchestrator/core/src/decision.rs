//! The outcome of a command, and helpers that several rules share.

use crate::{
    event::Event,
    refusal::Refusal,
    reply::Reply,
    state::{Attempt, Drone, Job, Swarm},
};
use swarm_common::{id::DroneId, time::TimeMs};

/// The minimum time between journaled changes of a drone's facts or boot id, and between its returns, in
/// milliseconds. A drone that reports other values each time or keeps signing off must not fill the journal.
pub(crate) const CHANGES_EVERY_MS: u64 = 10_000;

/// The outcome of a command: its events and the reply, or a refusal.
pub type Decision = Result<(Vec<Event>, Reply), Refusal>;

/// Looks up a drone, or refuses with [`Refusal::UnknownDrone`].
pub(crate) fn known(swarm: &Swarm, drone: DroneId) -> Result<&Drone, Refusal> {
    swarm.drones.get(&drone).ok_or(Refusal::UnknownDrone(drone))
}

/// `Done` without events: the state is already as requested.
pub(crate) fn already() -> Decision {
    Ok((Vec::new(), Reply::Done))
}

/// How long after a restore unknown drones and results are taken back, in milliseconds.
const RETURN_MS: u64 = 7 * 24 * 3600 * 1000;

/// How long an attempt may take for fetching and delivering, in addition to its builds, in milliseconds.
const BESIDE_BUILDS_MS: u64 = 24 * 3_600_000;

/// Whether the journal was restored recently, so that drones may report what it does not know.
pub(crate) fn was_restored(swarm: &Swarm, now: TimeMs) -> bool {
    swarm.restored_at.is_some_and(|at| now.since(at) < RETURN_MS)
}

/// Whether an attempt has taken longer than an honest drone would, whatever its heartbeats say.
pub(crate) fn is_overdue(swarm: &Swarm, now: TimeMs, attempt: &Attempt) -> bool {
    let stages = match attempt.job {
        Job::Build(package) => swarm.packages.get(&package).map_or(1, |p| p.stages.len().max(1)),
        Job::Plan(_) | Job::Base(_) => 1,
    };
    let builds_ms = swarm.policy.build_timeout_ms.saturating_mul(stages as u64);
    // Before the start, the clock may have been a different one.
    let since = attempt.started_at.max(swarm.live.started_at);
    now.since(since) > builds_ms.saturating_add(BESIDE_BUILDS_MS)
}

/// Whether a drone is offline or lost.
pub(crate) fn is_away(drone: &Drone) -> bool {
    drone.offline.is_some() || drone.lost.is_some()
}

/// Whether a drone that is away may return now.
pub(crate) fn may_return(swarm: &Swarm, now: TimeMs, id: DroneId) -> bool {
    swarm.live.returned.get(&id).is_none_or(|&at| now.since(at) >= CHANGES_EVERY_MS)
}
