//! The outcome of a command, and helpers that several rules share.

use crate::{
    event::Event,
    refusal::Refusal,
    reply::Reply,
    state::{Drone, Swarm},
};
use swarm_common::{id::DroneId, time::TimeMs};

/// How often changes of a drone's facts or boot id, and its return, are journaled at most, so that a
/// drone that reports others each time or keeps signing off does not fill the journal.
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

/// How long after a restore drones and results that the journal does not know are taken back.
const RETURN_MS: u64 = 7 * 24 * 3600 * 1000;

/// Whether drones may come with something that the journal does not know because it was restored.
pub(crate) fn was_restored(swarm: &Swarm, now: TimeMs) -> bool {
    swarm.restored_at.is_some_and(|at| now.since(at) < RETURN_MS)
}

/// Whether a drone is offline or lost.
pub(crate) fn is_away(drone: &Drone) -> bool {
    drone.offline.is_some() || drone.lost.is_some()
}

/// Whether a drone that is away may return now.
pub(crate) fn may_return(swarm: &Swarm, now: TimeMs, id: DroneId) -> bool {
    swarm.live.returned.get(&id).is_none_or(|&at| now.since(at) >= CHANGES_EVERY_MS)
}
