//! Strikes: failures that count against a drone, and when it is grounded for them.
//!
//! Clear evidence is a fault of the drone itself (disk full, no compiler), a rejected result, or a package
//! that failed on the drone and was then built elsewhere. Different packages failing on it in a row are
//! evidence too, which is withdrawn if one of them fails in the same way elsewhere.

use super::{own_signature, past, return_job};
use crate::{
    event::Event,
    reason::{BuiltElsewhere, DifferentPackages, Reason},
    state::{Drone, Package, Run, Swarm},
};
use swarm_common::{
    id::*,
    state::*,
    time::TimeMs,
    wire::{base::Base, drone::Failure},
};

/// Counts `attempt` against its drone, and grounds the drone when it has too many strikes.
///
/// The last drone able to do needed work is not grounded, since an idle swarm helps nobody. Its
/// strikes are still counted and shown in the status.
///
/// `events` is the decision so far: attempts that end in it no longer count as running.
pub fn strike(
    events: &mut Vec<Event>,
    swarm: &Swarm,
    now: TimeMs,
    id: DroneId,
    attempt: AttemptId,
    reason: Reason,
) {
    events.push(Event::DroneStruck { drone: id, attempt, reason: reason.clone() });
    let Some(drone) = swarm.drones.get(&id) else { return };
    let strikes = drone.strikes.len() + usize::from(!drone.strikes.contains_key(&attempt));
    let enough = strikes >= swarm.policy.strikes_to_ground as usize;
    if enough && drone.grounded.is_none() && !is_last_able(swarm, id) {
        let length = swarm.policy.ground_ms.saturating_mul(1 << drone.groundings.min(10));
        let until = now + length.min(swarm.policy.ground_max_ms);
        let reason = Reason::Strikes { count: strikes as u64, last: Box::new(reason) };
        for (other, record) in swarm.attempts_of(id).filter(|(a, _)| *a != attempt) {
            let why = Reason::DroneGrounded { drone: Box::new(drone.name.clone()) };
            events.push(Event::AttemptHandedBack { attempt: other, reason: why.clone() });
            let ended: Vec<AttemptId> = events.iter().filter_map(Event::ends).collect();
            events.extend(return_job(swarm, now, record.job, &ended, why));
        }
        events.push(Event::DroneGrounded { drone: id, until, reason });
    }
}

/// Whether only this drone can do work that is needed or being built: either no other online drone builds for
/// some active run that this drone builds for, or no other can build some package of such a run.
#[must_use]
pub fn is_last_able(swarm: &Swarm, id: DroneId) -> bool {
    let Some(drone) = swarm.drones.get(&id) else { return false };
    let others = swarm.drones.iter().filter(|&(&o, d)| o != id && d.state() == DroneState::Online);
    let others: Vec<&Drone> = others.map(|(_, d)| d).collect();
    let mut runs = swarm.runs.values().filter(|r| !r.state.is_over() && drone.builds_for(r));
    let only_it_builds = |run: &Run, package: &Package| {
        package.needs.is_some()
            && drone.is_for(package)
            && !others.iter().any(|other| other.builds(run, package))
    };
    others.is_empty()
        || runs.any(|run| {
            let open = run.packages.iter().filter_map(|id| swarm.packages.get(id));
            !others.iter().any(|other| other.builds_for(run))
                || (run.base == Base::Nix
                    && open.filter(|p| !p.state.is_final()).any(|package| only_it_builds(run, package)))
        })
}

/// Why a failure of a package's own class counts against the drone: another package has failed on it since
/// its last success, and nothing shows that to be the package's fault. `None` if the failure does not count.
#[must_use]
pub fn suspicion(swarm: &Swarm, id: DroneId, package: PackageId, failure: &Failure) -> Option<Reason> {
    let since = swarm.drones.get(&id)?.succeeded_at;
    let other = swarm.packages.iter().find(|&(&other, record)| {
        other != package
            && record.state != PackageState::Quarantined
            && past(swarm, other, AttemptId(0)).any(|a| {
                a.drone == id && a.ended_at.is_some_and(|at| at > since) && own_signature(a).is_some()
            })
    });
    let title = |id: PackageId| swarm.packages.get(&id).map(|package| package.title()).unwrap_or_default();
    other.map(|(&other, _)| {
        let (package, before) = (title(package), title(other));
        let two = DifferentPackages { package, error: failure.headline(), before };
        Reason::DifferentPackages(Box::new(two))
    })
}

/// Strikes for the drones on which a package failed that `builder` has now built. A drone that has had a
/// success since then gets none.
#[must_use]
pub fn refuted(swarm: &Swarm, now: TimeMs, package: PackageId, builder: DroneId) -> Vec<Event> {
    let Some(record) = swarm.packages.get(&package) else { return Vec::new() };
    let by = swarm.drones.get(&builder).map(|d| d.name.clone());
    let failed = record.attempts.iter().skip(record.forgiven).filter_map(|id| {
        let attempt = swarm.attempts.get(id)?;
        let drone = swarm.drones.get(&attempt.drone)?;
        let since = attempt.ended_at.is_some_and(|at| at > drone.succeeded_at);
        let counts = since && attempt.drone != builder && own_signature(attempt).is_some();
        (counts && !drone.strikes.contains_key(id)).then_some((*id, attempt.drone))
    });
    let mut struck = Vec::new();
    let mut events = Vec::new();
    for (attempt, drone) in failed {
        if !struck.contains(&drone) {
            struck.push(drone);
            let built = BuiltElsewhere { package: record.title(), by: by.clone() };
            let reason = Reason::BuiltElsewhere(Box::new(built));
            strike(&mut events, swarm, now, drone, attempt, reason);
        }
    }
    events
}

/// Withdraws the strikes given for a package that is now judged to be broken itself.
#[must_use]
pub fn forgive(swarm: &Swarm, package: PackageId) -> Vec<Event> {
    let Some(record) = swarm.packages.get(&package) else { return Vec::new() };
    let by_package = |a: &AttemptId| {
        record.attempts.contains(a) && swarm.attempts.get(a).is_some_and(|a| own_signature(a).is_some())
    };
    let forgiven = swarm.drones.iter().filter_map(|(&drone, d)| {
        let attempts: Vec<AttemptId> = d.strikes.keys().filter(|a| by_package(a)).copied().collect();
        let reason = || Reason::PackageAtFault { package: record.title().into() };
        (!attempts.is_empty()).then(|| Event::StrikesForgiven { drone, attempts, reason: reason() })
    });
    forgiven.collect()
}

/// Whether a grounding should end early, because the drone can do work that no other drone can do now.
#[must_use]
pub fn is_needed_back(swarm: &Swarm, id: DroneId) -> bool {
    let Some(drone) = swarm.drones.get(&id).filter(|d| d.state() == DroneState::Grounded) else {
        return false;
    };
    let mut runs = swarm.runs.values();
    runs.any(|r| !r.state.is_over() && drone.builds_for(r)) && is_last_able(swarm, id)
}
