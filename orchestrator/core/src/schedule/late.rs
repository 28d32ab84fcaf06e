//! How long an attempt will go on, and when it is a straggler.
//!
//! A package that was built before takes about as long again; when it does not, its drone
//! has become slow. Of one that was never built the length is a guess, and what has taken
//! long will take long: half as much again is to be expected of whatever is not done yet.

use super::MOST_DUPLICATES;
use crate::{
    attempt::{Attempt, Job},
    drone::Drone,
    package::Package,
    swarm::Swarm,
};
use swarm_common::{id::*, state::Phase, time::TimeMs};

/// Whether an attempt keeps its drone's processors busy.
pub(super) fn is_building(attempt: &Attempt) -> bool {
    attempt.phase() < Phase::Uploading
}

fn package<'a>(swarm: &'a Swarm, attempt: &Attempt) -> Option<&'a Package> {
    match attempt.job {
        Job::Build(package) => swarm.packages.get(&package),
        Job::Plan(_) => None,
    }
}

/// When an attempt would end if all went as predicted.
fn predicted_end(swarm: &Swarm, attempt: &Attempt) -> TimeMs {
    let work_ms = package(swarm, attempt).map_or(0, |p| p.predicted_ms);
    let drone = swarm.drones.get(&attempt.drone);
    attempt.started_at + drone.map_or(0, |d| d.setup_ms + d.duration_ms(work_ms))
}

/// When an attempt will keep its drone no longer. What should have ended goes on for a
/// part of what it has taken already; what was built before and is late shows that its
/// drone has become slow, and takes longer still.
pub(super) fn expected_end(swarm: &Swarm, now: TimeMs, attempt: &Attempt) -> TimeMs {
    let elapsed = now.since(attempt.started_at);
    let predicted = predicted_end(swarm, attempt);
    if predicted > now {
        return predicted;
    }
    let known = package(swarm, attempt).is_some_and(|p| !p.guessed);
    let late = elapsed > patience_ms(predicted.since(attempt.started_at), !known);
    now + if known && late { elapsed + elapsed / 2 } else { elapsed / 2 }
}

/// How long an attempt may take before it is late: longer than history is usually off, or
/// than a guess was.
fn patience_ms(predicted_ms: u64, guessed: bool) -> u64 {
    predicted_ms.saturating_mul(if guessed { 125 } else { 175 }) / 100
}

/// A drone's speed as its present attempt shows it: one that should have ended long ago
/// makes its drone look as slow as that.
pub(super) fn speed_now(swarm: &Swarm, now: TimeMs, id: DroneId, drone: &Drone) -> u64 {
    let mut speed = drone.likely_permille();
    for (_, attempt) in swarm.attempts_of(id).filter(|(_, a)| is_building(a)) {
        let known = package(swarm, attempt).is_some_and(|p| !p.guessed);
        let elapsed = now.since(attempt.started_at);
        let predicted = predicted_end(swarm, attempt).since(attempt.started_at).max(1);
        if known && elapsed > 2 * predicted {
            speed = speed.min(speed.saturating_mul(predicted) / elapsed);
        }
    }
    speed.max(1)
}

/// What is later by less is not doubled: it costs nobody much.
const LEAST_DELAY_MS: u64 = 30_000;

/// An attempt that should have ended.
pub(super) struct Straggler {
    /// Which.
    pub(super) attempt: AttemptId,
    /// At what.
    pub(super) package: PackageId,
    /// When its result is expected now.
    pub(super) finish: u64,
    /// The work another drone would have with it, in milliseconds at speed 1.
    pub(super) work_ms: u64,
    /// How long it has been at it.
    pub(super) elapsed_ms: u64,
    /// It is later than predictions are off; otherwise it may yet be in order.
    pub(super) certain: bool,
    /// How many others are at the same.
    pub(super) others: usize,
}

/// The attempt at a delegated package that will end first, if it is late enough that
/// another should try.
pub(super) fn straggler(swarm: &Swarm, now: TimeMs, id: PackageId) -> Option<Straggler> {
    let live: Vec<(AttemptId, &Attempt)> = swarm.attempts_at(Job::Build(id)).collect();
    if live.len() > MOST_DUPLICATES || live.iter().any(|(_, a)| !is_building(a)) {
        return None;
    }
    let &(attempt, record) = live.iter().min_by_key(|(_, a)| expected_end(swarm, now, a))?;
    let package = swarm.packages.get(&id)?;
    let drone = swarm.drones.get(&record.drone)?;
    let elapsed = now.since(record.started_at);
    let predicted = predicted_end(swarm, record).since(record.started_at);
    let certain = elapsed > patience_ms(predicted, package.guessed);
    let overdue =
        !package.guessed && live.len() == 1 && elapsed > predicted + predicted / 10 + LEAST_DELAY_MS;
    if !certain && !overdue {
        return None;
    }
    let done_ms = elapsed.saturating_sub(drone.setup_ms).saturating_mul(drone.speed_permille) / 1000;
    let work_ms = if package.guessed { done_ms + done_ms / 2 } else { package.predicted_ms };
    let finish = expected_end(swarm, now, record).0 + drone.upload_ms;
    let work_ms = work_ms.max(package.predicted_ms);
    Some(Straggler {
        attempt,
        package: id,
        finish,
        work_ms,
        elapsed_ms: elapsed,
        certain,
        others: live.len() - 1,
    })
}
