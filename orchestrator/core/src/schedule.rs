//! Who gets which package.
//!
//! Order: plans first, then by run class, then the longest chain of waiting work. A
//! package goes to the drone that will *finish* it soonest, counting what each still has
//! to do: a claim by a drone that another would beat is held back, with that as the
//! reason (list scheduling by upward rank and earliest finish time, as in HEFT,
//! Topcuoglu et al. 2002). Handing the longest job to whichever drone asks first is what
//! loses half of a mixed fleet's time.
//!
//! Only drones that wait for work or do some are counted on. One that is merely online
//! could hold work back for ever.

use crate::{
    attempt::{Attempt, Ending, Job},
    calendar,
    command::Reply,
    decide::{Decision, known},
    drone::Drone,
    estimate::OVERHEAD_MS,
    event::Event,
    judge::{memory, own_signature},
    package::Package,
    run::Run,
    swarm::Swarm,
};
use std::{cmp::Reverse, collections::BTreeMap};
use swarm_common::{id::*, state::*, time::TimeMs, wire::drone::*};

/// The longest wait of one claim.
pub const LONGEST_WAIT_MS: u64 = 60_000;

/// How many packages are placed, beyond one for each drone, before a claim is held back.
const LOOK_AHEAD: usize = 64;

/// What is chosen for a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    Plan(RunId),
    Build(PackageId),
    Nothing(String),
}

/// A drone asks for work. Never refused for the state of drone or queue: the answer then
/// is no work, and why.
pub(crate) fn claim(swarm: &Swarm, now: TimeMs, id: DroneId, request: &ClaimRequest) -> Decision {
    let drone = known(swarm, id)?;
    let mut events = vec![Event::DroneSeen { drone: id, vitals: None }];
    let nothing = |reason: String| ClaimReply { assignment: None, reason: Some(reason) };
    if let Some((attempt, record)) = swarm.attempts_of(id).find(|(_, a)| a.key == request.key) {
        let assignment = assignment(swarm, attempt, record.job, drone, &record.build_ids);
        return Ok((events, Reply::Claim(Box::new(ClaimReply { assignment, reason: None }))));
    }
    if drone.offline.is_some() || drone.lost.is_some() {
        events.push(Event::DroneReturned { drone: id });
    }
    if let Some(reason) = held(swarm, id, drone).or_else(|| calendar::paused(swarm, now)) {
        return Ok((events, Reply::Claim(Box::new(nothing(reason)))));
    }
    let attempt = AttemptId(swarm.last.attempt + 1);
    let key = request.key.clone();
    let reply = match choose(swarm, now, id, drone) {
        Choice::Plan(run) => {
            events.push(Event::PlanDelegated { run, attempt, drone: id, key });
            ClaimReply { assignment: assignment(swarm, attempt, Job::Plan(run), drone, &[]), reason: None }
        }
        Choice::Build(package) => {
            let build_ids = next_build_ids(swarm, package);
            let reply = ClaimReply {
                assignment: assignment(swarm, attempt, Job::Build(package), drone, &build_ids),
                reason: None,
            };
            events.push(Event::PackageDelegated { package, attempt, drone: id, key, build_ids });
            reply
        }
        Choice::Nothing(reason) => {
            let until = now + request.wait_ms.min(LONGEST_WAIT_MS);
            events.push(Event::DroneWaits { drone: id, until });
            nothing(reason)
        }
    };
    Ok((events, Reply::Claim(Box::new(reply))))
}

/// Why a drone gets nothing whatever the queue has.
fn held(swarm: &Swarm, id: DroneId, drone: &Drone) -> Option<String> {
    match drone.state() {
        DroneState::Pending => Some(format!("not approved yet: `swarmctl drone approve {}`", drone.name)),
        DroneState::Draining => Some(format!("draining: {}", drone.draining.as_deref().unwrap_or_default())),
        DroneState::Grounded => drone.grounded.as_ref().map(|g| format!("grounded: {}", g.reason)),
        DroneState::Online | DroneState::Offline | DroneState::Lost => swarm
            .attempts_of(id)
            .find(|(_, a)| is_building(a))
            .map(|(attempt, _)| format!("it has attempt {attempt} already")),
    }
}

/// What a claim of this drone would be told if it got nothing; `None` if it got something.
pub(crate) fn would_be_told(swarm: &Swarm, now: TimeMs, id: DroneId, drone: &Drone) -> Option<String> {
    match choose(swarm, now, id, drone) {
        Choice::Nothing(reason) => Some(reason),
        Choice::Plan(_) | Choice::Build(_) => None,
    }
}

/// Whether an attempt keeps its drone's processors busy.
fn is_building(attempt: &Attempt) -> bool {
    attempt.phase() < Phase::Uploading
}

/// Runs under way, the most urgent first.
fn by_urgency(swarm: &Swarm) -> Vec<(RunId, &Run)> {
    let mut runs: Vec<_> =
        swarm.runs.iter().filter(|(_, r)| !r.state.is_over()).map(|(&id, r)| (id, r)).collect();
    runs.sort_by_key(|(id, run)| (run.class, *id));
    runs
}

fn choose(swarm: &Swarm, now: TimeMs, id: DroneId, drone: &Drone) -> Choice {
    let runs = by_urgency(swarm);
    let planning = runs.iter().find(|(run, r)| {
        r.state == RunState::Planning
            && r.plan_not_before <= now
            && drone.builds_for(&r.profile)
            && swarm.attempts_at(Job::Plan(*run)).next().is_none()
    });
    if let Some((run, _)) = planning {
        return Choice::Plan(*run);
    }
    let mut free_at = free_at(swarm, now, id);
    let most = free_at.len() + LOOK_AHEAD;
    let mut held_back = None;
    let (mut waiting_ms, mut not_for_it) = (None::<u64>, 0);
    let mut placed = 0;
    for (run, package_id) in runs.iter().flat_map(|(_, r)| r.ready.iter().map(move |(_, p)| (r, *p))) {
        let Some(package) = swarm.packages.get(&package_id) else { continue };
        if package.not_before > now {
            let ms = package.not_before.since(now);
            waiting_ms = Some(waiting_ms.map_or(ms, |least| least.min(ms)));
            continue;
        }
        let Some((best, finish)) = soonest(swarm, now, run, (package_id, package), &free_at) else {
            not_for_it += 1;
            continue;
        };
        if best == id {
            return Choice::Build(package_id);
        }
        free_at.insert(best, finish);
        held_back.get_or_insert((package_id, best));
        placed += 1;
        if placed >= most {
            break;
        }
    }
    Choice::Nothing(match (held_back, waiting_ms) {
        (Some((package, best)), _) => {
            let title = swarm.packages.get(&package).map(Package::title).unwrap_or_default();
            let name = swarm.drones.get(&best).map(|d| d.name.to_string()).unwrap_or_default();
            format!("held back: {title} will be finished sooner by {name}")
        }
        (None, Some(ms)) => format!("what is needed waits {} s before its next attempt", ms.div_ceil(1000)),
        (None, None) if not_for_it > 0 => "what is needed is not for this drone".into(),
        (None, None) if runs.is_empty() => "no run is under way".into(),
        (None, None) => "everything left waits for packages that are being built".into(),
    })
}

/// When each drone that counts is free, `claimant` included. The claimant and those that
/// wait are free now; a busy one when its prediction says, and when it has overrun that,
/// after half as long again as it has taken.
fn free_at(swarm: &Swarm, now: TimeMs, claimant: DroneId) -> BTreeMap<DroneId, TimeMs> {
    let mut free = BTreeMap::new();
    for (&id, drone) in &swarm.drones {
        if drone.state() != DroneState::Online && id != claimant {
            continue;
        }
        let busy = swarm.attempts_of(id).find(|(_, a)| is_building(a));
        let waits = id == claimant || swarm.live.waiting.get(&id).is_some_and(|&until| until > now);
        match busy {
            Some((_, attempt)) => {
                let work_ms = match attempt.job {
                    Job::Build(package) => swarm.packages.get(&package).map_or(0, |p| p.predicted_ms),
                    Job::Plan(_) => 0,
                };
                let expected = attempt.started_at + OVERHEAD_MS + drone.duration_ms(work_ms);
                let overrun = now + now.since(attempt.started_at) / 2;
                free.insert(id, if expected > now { expected } else { overrun });
            }
            None if waits => {
                free.insert(id, now);
            }
            None => {}
        }
    }
    free
}

/// The drone that would finish a package soonest, and when. Drones on which it failed
/// are left out while there are others.
fn soonest(
    swarm: &Swarm,
    now: TimeMs,
    run: &Run,
    (id, package): (PackageId, &Package),
    free_at: &BTreeMap<DroneId, TimeMs>,
) -> Option<(DroneId, TimeMs)> {
    let avoided: Vec<DroneId> = package.attempts[package.forgiven.min(package.attempts.len())..]
        .iter()
        .filter_map(|a| swarm.attempts.get(a))
        .filter(|a| speaks_against(a))
        .map(|a| a.drone)
        .collect();
    let floor_bytes = memory::floor_bytes(swarm, id);
    let able = |avoided: &[DroneId]| {
        let counted = free_at.iter().filter(|(id, _)| !avoided.contains(id));
        counted
            .filter_map(|(&id, &free)| Some((id, free, swarm.drones.get(&id)?)))
            .filter(|(_, _, drone)| drone.builds_for(&run.profile) && memory::fits(floor_bytes, drone))
            .map(|(id, free, drone)| {
                let finish = free.max(now) + OVERHEAD_MS + drone.duration_ms(package.predicted_ms);
                (finish, Reverse(drone.speed_permille), id)
            })
            .min()
            .map(|(finish, _, id)| (id, finish))
    };
    able(&avoided).or_else(|| able(&[]))
}

/// Whether an attempt speaks against trying again on its drone.
fn speaks_against(attempt: &Attempt) -> bool {
    let own = own_signature(attempt).is_some()
        || matches!(&attempt.ending, Some(Ending::Failed(f)) if f.class == FailureClass::Drone);
    own && !memory::was_killed(attempt)
}

/// A build id for each target that its profile has never used for that version.
fn next_build_ids(swarm: &Swarm, id: PackageId) -> Vec<u32> {
    let Some(package) = swarm.packages.get(&id) else { return Vec::new() };
    let profile = swarm.runs.get(&package.run).and_then(|r| swarm.profiles.get(&r.profile));
    let last = |cpv| profile.and_then(|p| p.build_ids.get(cpv)).copied().unwrap_or(0);
    package.targets.iter().map(|t| last(&t.cpv) + 1).collect()
}

/// What a drone is told of an attempt. `None` if its records are gone.
fn assignment(
    swarm: &Swarm,
    attempt: AttemptId,
    job: Job,
    drone: &Drone,
    build_ids: &[u32],
) -> Option<Assignment> {
    let (run_id, work, jobs) = match job {
        Job::Plan(run) => (run, Work::Plan, 0),
        Job::Build(id) => {
            let package = swarm.packages.get(&id)?;
            let mut targets = package.targets.clone();
            for (target, &build_id) in targets.iter_mut().zip(build_ids) {
                target.build_id = build_id;
            }
            let order = BuildOrder { package: id, targets, stages: package.stages.clone() };
            (package.run, Work::Build(order), memory::jobs(swarm, id, drone))
        }
    };
    let run = swarm.runs.get(&run_id)?;
    let policy = &swarm.policy;
    Some(Assignment {
        attempt,
        run: run_id,
        profile: run.profile.clone(),
        snapshot: run.snapshot,
        binhost: format!("/binhost/{}/runs/{run_id}", run.profile),
        lease_ms: policy.lease_ms,
        limits: BuildLimits {
            build_timeout_ms: policy.build_timeout_ms,
            silence_timeout_ms: policy.silence_timeout_ms,
            log_bytes: policy.log_bytes,
            jobs,
        },
        work,
    })
}
