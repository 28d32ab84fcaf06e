//! In which order the runs get drones. The state before an assignment shows what the drone could have got
//! instead.
//!
//! The core promises this order: plans, the most urgent run's first; then bases; then builds, and among them
//! a package of the most urgent run that has one for this drone *now*. It has none if another drone is
//! expected to finish each of its packages sooner, or if it keeps the drone free for a package that is still
//! blocked. The oracle does not repeat these predictions. It reports a less urgent package only if neither
//! can be the reason: the drone was idle, it alone could finish the urgent package first even if all other
//! drones were idle too, and no run of that urgency or a higher one has a blocked package for which a drone
//! may be kept free. Nor does the urgent package wait for another run that builds the same one, and it is no
//! source of Nix that is left to the drone that made the plan.

use swarm_common::{id::*, state::*, time::TimeMs};
use swarm_core::{
    Event, Record, Swarm,
    state::{Drone, Job, Package, Run},
};

/// Packages of a run that the core certainly considers for a claim.
const CONSIDERED: usize = 64;

/// Checks that nothing more urgent could have been assigned, given the state before the event. Returns
/// whether a run that is older but less urgent had to wait for it.
///
/// # Errors
/// What should have been assigned instead.
pub(super) fn check(before: &Swarm, record: &Record) -> Result<bool, String> {
    let at = record.at;
    match &record.event {
        Event::PlanDelegated { run, drone, .. } => {
            let own = before.runs.get(run).map(|record| (record.class, *run));
            match plans(before, at, *drone).find(|(id, record)| Some((record.class, *id)) < own) {
                Some((other, _)) => Err(format!("{drone} got the plan of {run} before that of {other}")),
                None => Ok(false),
            }
        }
        Event::BaseDelegated { run, drone, .. } => match plans(before, at, *drone).next() {
            Some((plan, _)) => Err(format!("{drone} got the base of {run} before the plan of {plan}")),
            None => Ok(false),
        },
        Event::PackageDelegated { package, drone, returned: false, .. } => {
            if let Some((plan, _)) = plans(before, at, *drone).next() {
                return Err(format!("{drone} got {package} before the plan of {plan}"));
            }
            built_once(before, *package)?;
            builds(before, at, *package, *drone)
        }
        _ => Ok(false),
    }
}

/// The runs whose plan the drone could make now.
fn plans(before: &Swarm, at: TimeMs, drone: DroneId) -> impl Iterator<Item = (RunId, &Run)> {
    let drone = before.drones.get(&drone);
    before.runs.iter().map(|(&id, run)| (id, run)).filter(move |(id, run)| {
        run.state == RunState::Planning
            && run.plan_not_before <= at
            && drone.is_some_and(|drone| drone.builds_for(run))
            && before.attempts_at(Job::Plan(*id)).next().is_none()
    })
}

fn builds(before: &Swarm, at: TimeMs, id: PackageId, drone: DroneId) -> Result<bool, String> {
    let (Some(package), Some(record)) = (before.packages.get(&id), before.drones.get(&drone)) else {
        return Ok(false);
    };
    let Some(own) = before.runs.get(&package.run).map(|run| (run.class, package.run)) else {
        return Ok(false);
    };
    let mut active = before.runs.iter().filter(|(_, run)| run.state == RunState::Building);
    let more_urgent = active.clone().filter(|(other, run)| (run.class, **other) < own);
    for (other, run) in more_urgent {
        if let Some(left) = left_out(before, at, (*other, run), (drone, record)) {
            return Err(format!(
                "{drone} got {id} of the {} run {}, though {left} of the {} run {other} is needed",
                own.0, own.1, run.class
            ));
        }
    }
    let has_work = |run: &Run| {
        let mut ready = run.ready.iter().filter_map(|(_, id)| before.packages.get(id));
        ready.any(|package| package.not_before <= at && record.builds(run, package))
    };
    Ok(active.any(|(other, run)| *other < own.1 && (run.class, *other) > own && has_work(run)))
}

/// A needed package of a run that the drone would have got if it had been the run's turn.
fn left_out(
    before: &Swarm,
    at: TimeMs,
    (id, run): (RunId, &Run),
    (drone_id, drone): (DroneId, &Drone),
) -> Option<PackageId> {
    let may_be_kept_free = |id: &PackageId| {
        before.packages.get(id).is_some_and(|p| p.state == PackageState::Blocked && !p.guessed)
    };
    let mut sooner = before.runs.iter().filter(|(other, r)| (r.class, **other) < (run.class, id));
    if before.builds_on(drone_id) > 0
        || sooner.any(|(_, run)| run.open.iter().any(|(_, package)| may_be_kept_free(package)))
    {
        return None;
    }
    let considered = run.open.iter().take(CONSIDERED);
    for (_, id) in considered.take_while(|(_, id)| !may_be_kept_free(id)) {
        let package = before.packages.get(id)?;
        let tried = || package.attempts.iter().filter_map(|attempt| before.attempts.get(attempt));
        if package.state == PackageState::Needed
            && package.not_before <= at
            && drone.builds(run, package)
            && !tried().any(|attempt| attempt.drone == drone_id)
            && is_first(before, run, package, (drone_id, drone))
            && !has_twin(before, run.class, package)
            && (!package.is_source() || planner(before, run) == Some(drone_id))
        {
            return Some(*id);
        }
    }
    None
}

/// Whether the drone would finish the package before any other drone, even if all were idle.
fn is_first(before: &Swarm, run: &Run, package: &Package, (id, drone): (DroneId, &Drone)) -> bool {
    let takes = |drone: &Drone| drone.setup_ms + drone.duration_ms(package.predicted_ms) + drone.upload_ms;
    let others = before.drones.iter().filter(|(other, drone)| {
        **other != id && drone.state() == DroneState::Online && drone.builds(run, package)
    });
    others.map(|(_, other)| takes(other)).all(|other| takes(drone) < other)
}

/// The drone that made the plan of a run.
fn planner(before: &Swarm, run: &Run) -> Option<DroneId> {
    Some(before.attempts.get(run.plan_attempts.last()?)?.drone)
}

/// Whether another run builds the same package, or will as soon as another drone takes it.
fn has_twin(before: &Swarm, class: RunClass, package: &Package) -> bool {
    let waits = |other: &Package| {
        let run = before.runs.get(&other.run);
        run.is_some_and(|run| (run.class, other.run) < (class, package.run))
    };
    let mut same = before
        .packages
        .values()
        .filter(|other| other.build_key == package.build_key && other.run != package.run);
    same.any(|other| match other.state {
        PackageState::Delegated => true,
        PackageState::Needed => waits(other),
        _ => false,
    })
}

/// Checks that a package is not assigned for the first time although another run has received the same one:
/// it would have been reused when it was planned, or when the other one was received.
fn built_once(before: &Swarm, id: PackageId) -> Result<(), String> {
    let Some(package) = before.packages.get(&id).filter(|package| package.attempts.is_empty()) else {
        return Ok(());
    };
    let is_same =
        |other: &Package| other.build_key == package.build_key && other.state == PackageState::Received;
    match before.packages.iter().find(|(_, other)| other.run != package.run && is_same(other)) {
        Some((other, _)) => Err(format!("{id} was assigned although {other} is the same and was received")),
        None => Ok(()),
    }
}
