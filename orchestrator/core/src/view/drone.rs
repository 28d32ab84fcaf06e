//! API views of drones.

use crate::{
    state::{Attempt, Drone, Job, Swarm},
    text,
};
use swarm_common::{
    id::*,
    state::DroneState,
    time::TimeMs,
    wire::view::{DroneView, WorkView},
};

/// Every drone, in the order of enrolment.
#[must_use]
pub fn drones(swarm: &Swarm, now: TimeMs) -> Vec<DroneView> {
    swarm.drones.iter().map(|(&id, drone)| view(swarm, now, id, drone)).collect()
}

#[must_use]
pub fn drone(swarm: &Swarm, now: TimeMs, id: DroneId) -> Option<DroneView> {
    swarm.drones.get(&id).map(|drone| view(swarm, now, id, drone))
}

fn view(swarm: &Swarm, now: TimeMs, id: DroneId, drone: &Drone) -> DroneView {
    DroneView {
        id,
        name: drone.name.clone(),
        state: swarm.state_of(id, drone),
        reason: reason(swarm, now, id, drone),
        offline: drone.offline.clone(),
        facts: drone.facts.clone(),
        vitals: swarm.live.vitals.get(&id).copied(),
        // A start counts every drone as heard, although none was.
        last_seen: swarm.live.seen.get(&id).copied().filter(|&seen| seen > swarm.live.started_at),
        strikes: u32::try_from(drone.strikes.len()).unwrap_or(u32::MAX),
        healing: super::healing(swarm, now, id, drone),
        protected: drone.healing.protected
            || swarm.policy.heal.reach.get(&drone.name).is_some_and(|reach| reach.protected),
        speed: drone.speed_permille as f64 / 1000.0,
        working_on: swarm.attempts_of(id).map(|(attempt, a)| work(swarm, attempt, a)).collect(),
    }
}

fn work(swarm: &Swarm, id: AttemptId, attempt: &Attempt) -> WorkView {
    let title = title(swarm, attempt);
    WorkView { attempt: id, title, phase: attempt.phase(), since: attempt.started_at }
}

pub(super) fn title(swarm: &Swarm, attempt: &Attempt) -> String {
    match attempt.job {
        Job::Plan(run) => format!("plan of {run}"),
        Job::Base(run) => match swarm.following(run) {
            Some((base, ..)) => format!("base {base} after {run}"),
            None => format!("base after {run}"),
        },
        Job::Build(package) => {
            swarm.packages.get(&package).map(|package| package.title()).unwrap_or_default()
        }
    }
}

/// The reason for a drone's state, and until when the state lasts.
fn reason(swarm: &Swarm, now: TimeMs, id: DroneId, drone: &Drone) -> String {
    match swarm.state_of(id, drone) {
        DroneState::Pending => "waiting for approval".into(),
        DroneState::Lost => text::optional_reason(drone.lost.as_ref()),
        DroneState::Offline => drone.offline.as_ref().map(text::offline).unwrap_or_default(),
        DroneState::Draining => {
            drone.draining.as_ref().map_or_else(|| "drained on its own machine".into(), text::reason)
        }
        DroneState::Grounded => drone.grounded.as_ref().map_or_else(String::new, |g| {
            let (why, ms) = (text::reason(&g.reason), g.until.since(now));
            format!("{why}; gets work again in {} s", ms.div_ceil(1000))
        }),
        DroneState::Online if swarm.attempts_of(id).next().is_some() => "working".into(),
        DroneState::Online => match drone.strikes.len() {
            0 => "waiting for work".into(),
            1 => "waiting for work; 1 strike".into(),
            n => format!("waiting for work; {n} strikes"),
        },
    }
}
