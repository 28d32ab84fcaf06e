//! Whose fault a failure is, and what follows: another try, quarantine, a strike.
//!
//! A failure is judged by its class and by its company. The same error on two drones is
//! the package's; what the network or a lost lease did is nobody's; only a drone's own
//! trouble is a strike.

use crate::{
    attempt::{Attempt, Ending},
    event::Event,
    package::Package,
    swarm::Swarm,
};
use swarm_common::{id::*, state::*, time::TimeMs, wire::drone::Failure};

/// What follows from a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Try again, no sooner than this.
    Retry {
        /// Milliseconds from now.
        after_ms: u64,
        /// Why, in one line.
        reason: String,
    },
    /// Do not try again without a person.
    GiveUp {
        /// Why, in one line.
        reason: String,
    },
}

/// Judges a package after `attempt` at it failed.
#[must_use]
pub fn package(swarm: &Swarm, id: PackageId, attempt: AttemptId, failure: &Failure, entropy: u64) -> Verdict {
    let (Some(package), Some(current)) = (swarm.packages.get(&id), swarm.attempts.get(&attempt)) else {
        return Verdict::GiveUp { reason: "its records are gone".into() };
    };
    let past: Vec<&Attempt> = past(swarm, package, attempt).collect();
    let is_own = |class| matches!(class, FailureClass::Package | FailureClass::Timeout);
    let what = format!("{} failed on {}: {}", failure.phase, current.drone_name, failure.signature);
    if is_own(failure.class) {
        let alike = past.iter().find(|a| own_signature(a).is_some_and(|s| s == failure.signature));
        let only_drone = drones_for(swarm, id).all(|d| d == current.drone);
        if let Some(other) = alike.filter(|other| other.drone != current.drone || only_drone) {
            let names = if other.drone == current.drone {
                format!("twice on {}, the only drone", current.drone_name)
            } else {
                format!("on {} and {}", other.drone_name, current.drone_name)
            };
            let reason = format!("failed alike {names}: {}", failure.signature);
            return Verdict::GiveUp { reason };
        }
        let own = 1 + past.iter().filter(|a| own_signature(a).is_some()).count();
        if own >= swarm.policy.package_failures as usize {
            return Verdict::GiveUp { reason: format!("{own} failures of its own, the last: {what}") };
        }
    }
    let failures = past.iter().filter(|a| counts(a)).count() + 1;
    if is_spent(swarm, id, attempt) {
        return Verdict::GiveUp { reason: format!("{failures} failed attempts, the last: {what}") };
    }
    Verdict::Retry { after_ms: backoff_ms(swarm, failures, entropy), reason: what }
}

/// Whether a package has used up its attempts now that `attempt` has ended badly.
#[must_use]
pub fn is_spent(swarm: &Swarm, id: PackageId, attempt: AttemptId) -> bool {
    let Some(package) = swarm.packages.get(&id) else { return true };
    let failures = past(swarm, package, attempt).filter(|a| counts(a)).count() + 1;
    failures >= swarm.policy.failures_in_all as usize
}

/// The attempts at a package that are held against it, without `current`.
fn past<'a>(swarm: &'a Swarm, package: &'a Package, current: AttemptId) -> impl Iterator<Item = &'a Attempt> {
    let unforgiven = package.attempts.iter().skip(package.forgiven);
    unforgiven.filter(move |&&a| a != current).filter_map(|a| swarm.attempts.get(a))
}

/// Whether an attempt was a try that came to nothing.
fn counts(attempt: &Attempt) -> bool {
    matches!(attempt.ending, Some(Ending::Failed(_) | Ending::Rejected(_) | Ending::Lost(_)))
}

/// Judges a plan after an attempt at it failed.
#[must_use]
pub fn plan(swarm: &Swarm, run: RunId, failure: &Failure, entropy: u64) -> Verdict {
    let attempts = swarm.runs.get(&run).map_or(0, |r| r.plan_attempts.len());
    let what = format!("the plan failed ({}): {}", failure.class, failure.signature);
    if attempts >= swarm.policy.plan_attempts as usize {
        return Verdict::GiveUp { reason: format!("{what}, {attempts} times") };
    }
    Verdict::Retry { after_ms: backoff_ms(swarm, attempts, entropy), reason: what }
}

/// Counts a failure against a drone, and grounds it when that is one too many.
///
/// The last drone that is able to work is not grounded: an idle swarm helps nobody. Its
/// strikes go on counting, and status tells.
#[must_use]
pub fn strike(swarm: &Swarm, now: TimeMs, id: DroneId, attempt: AttemptId, reason: &str) -> Vec<Event> {
    let mut events = vec![Event::DroneStruck { drone: id, attempt, reason: reason.to_owned() }];
    let Some(drone) = swarm.drones.get(&id) else { return events };
    let strikes = drone.strikes + 1;
    let others = swarm.drones.iter().any(|(&other, d)| other != id && d.state() == DroneState::Online);
    if strikes >= swarm.policy.strikes_to_ground && others && drone.grounded.is_none() {
        let length = swarm.policy.ground_ms.saturating_mul(1 << drone.groundings.min(10));
        let until = now + length.min(swarm.policy.ground_max_ms);
        let reason = format!("{strikes} strikes in a row, the last: {reason}");
        for (other, record) in swarm.attempts_of(id).filter(|(a, _)| *a != attempt) {
            let why = format!("{} was grounded", drone.name);
            events.push(Event::AttemptHandedBack { attempt: other, reason: why.clone() });
            events.extend(crate::decide::return_job(swarm, now, record.job, other, why));
        }
        events.push(Event::DroneGrounded { drone: id, until, reason });
    }
    events
}

/// Drones that could be given the package sooner or later.
fn drones_for(swarm: &Swarm, package: PackageId) -> impl Iterator<Item = DroneId> {
    let profile = swarm.packages.get(&package).and_then(|p| swarm.runs.get(&p.run)).map(|r| &r.profile);
    swarm
        .drones
        .iter()
        .filter(move |(_, d)| {
            d.approved
                && d.lost.is_none()
                && d.offline.is_none()
                && d.draining.is_none()
                && profile.is_some_and(|p| d.builds_for(p))
        })
        .map(|(id, _)| *id)
}

/// The signature with which an attempt failed by the package's own fault.
pub(crate) fn own_signature(attempt: &Attempt) -> Option<&str> {
    match attempt.ending.as_ref()? {
        Ending::Failed(f) if matches!(f.class, FailureClass::Package | FailureClass::Timeout) => {
            Some(&f.signature)
        }
        Ending::Rejected(reason) => Some(reason),
        _ => None,
    }
}

/// Waiting time after the `n`-th failure: doubling, bounded, and spread by a quarter to
/// either side so that what failed together does not return together.
fn backoff_ms(swarm: &Swarm, n: usize, entropy: u64) -> u64 {
    let doublings = n.saturating_sub(1).min(20) as u32;
    let base = swarm.policy.backoff_ms.saturating_mul(1 << doublings).min(swarm.policy.backoff_max_ms);
    base - base / 4 + entropy % (base / 2 + 1)
}
