//! Judges builds killed for their memory use. The next attempt uses fewer jobs; if even one job was
//! too many, the package waits for a drone with more memory. No drone gets a strike for it.

use super::past;
use crate::{
    reason::{OutOfMemory, Reason},
    state::{Attempt, Drone, Ending, Swarm},
};
use swarm_common::{id::*, state::FailureCause, wire::drone::Failure};

/// By how many bits each kill shifts the number of jobs: to a quarter, so that even a large machine is down
/// to one job after a few attempts.
const SHIFT_PER_KILL: usize = 2;

/// Whether an attempt was killed for its memory use.
#[must_use]
pub fn was_killed(attempt: &Attempt) -> bool {
    let cause = Some(FailureCause::OutOfMemory);
    matches!(&attempt.ending, Some(Ending::Failed(Failure { cause: found, .. })) if *found == cause)
}

/// The number of attempts at the package that were killed for their memory use.
#[must_use]
pub fn kills(swarm: &Swarm, package: PackageId) -> usize {
    past(swarm, package, AttemptId(0)).filter(|a| was_killed(a)).count()
}

/// The maximum number of jobs that a drone may use for the package; 0 leaves the number to the drone.
#[must_use]
pub fn jobs(swarm: &Swarm, package: PackageId, drone: &Drone) -> u32 {
    match kills(swarm, package) {
        0 => 0,
        kills => jobs_after(drone, kills),
    }
}

fn jobs_after(drone: &Drone, kills: usize) -> u32 {
    let shift = u32::try_from(kills * SHIFT_PER_KILL).unwrap_or(u32::MAX);
    drone.facts.cores.checked_shr(shift).unwrap_or(0).max(1)
}

/// The memory, in bytes, with which even a build with one job was killed; a drone needs more. 0 if that has not
/// happened.
#[must_use]
pub fn floor_bytes(swarm: &Swarm, package: PackageId) -> u64 {
    let kills = past(swarm, package, AttemptId(0)).filter(|a| was_killed(a));
    let floors = kills.enumerate().filter_map(|(before, attempt)| floor(swarm, attempt, before));
    floors.max().unwrap_or(0)
}

/// Memory available to a build that was killed with one job, after `before` earlier kills. `None` if the
/// build had neighbours, whose memory use may have caused the kill.
fn floor(swarm: &Swarm, attempt: &Attempt, before: usize) -> Option<u64> {
    let drone = swarm.drones.get(&attempt.drone)?;
    let beside = attempt.is_building() && swarm.builds_on(attempt.drone) > 1;
    let alone = attempt.lost_ms == 0 && !beside;
    (alone && jobs_after(drone, before) == 1).then_some(drone.facts.memory_for_a_build())
}

/// Whether a drone has enough memory for a package, judging by the package's kills.
#[must_use]
pub fn fits(floor_bytes: u64, drone: &Drone) -> bool {
    floor_bytes == 0 || drone.facts.memory_for_a_build() > floor_bytes
}

/// Why no drone can build a package that was just killed in `current`: even one job was too many on
/// the drone with the most memory.
pub(super) fn unrecoverable(swarm: &Swarm, package: PackageId, current: &Attempt) -> Option<Reason> {
    let before = kills(swarm, package);
    let floor_bytes = floor_bytes(swarm, package).max(floor(swarm, current, before).unwrap_or(0));
    let package = swarm.packages.get(&package)?;
    let run = swarm.runs.get(&package.run)?;
    let mut able = swarm.drones.values().filter(|d| d.approved && d.lost.is_none() && d.builds(run, package));
    (!able.any(|d| fits(floor_bytes, d))).then(|| {
        let killed = OutOfMemory { drone: current.drone_name.clone(), had_bytes: floor_bytes };
        Reason::OutOfMemory(Box::new(killed))
    })
}
