//! Answers a drone that asks for work.

use super::{
    LONGEST_WAIT_MS,
    choice::{Choice, choose},
};
use crate::{
    closure,
    decision::{Decision, is_away, known, may_return},
    event::Event,
    explain, follow,
    judge::memory,
    reply::Reply,
    state::{Drone, Job, Swarm, sent_build_ids},
    text,
};
use std::collections::BTreeMap;
use swarm_common::{
    id::*,
    state::*,
    time::TimeMs,
    wire::{concern::Action, drone::*},
};

/// Handles a claim. The state of the drone or the queue never causes a refusal: the answer is then no work,
/// with the reason.
pub(crate) fn claim(swarm: &Swarm, now: TimeMs, id: DroneId, request: &ClaimRequest) -> Decision {
    let drone = known(swarm, id)?;
    let stuck = BTreeMap::new();
    let mut events = vec![Event::DroneSeen { drone: id, vitals: None, draining: false, stuck }];
    let nothing = |reason: String| ClaimReply { assignment: None, reason: Some(reason) };
    if let Some((attempt, record)) = swarm.attempts_of(id).find(|(_, a)| a.key == request.key) {
        let assignment = assignment(swarm, attempt, record.job, drone, &record.build_ids);
        return Ok((events, Reply::Claim(Box::new(ClaimReply { assignment, reason: None }))));
    }
    if is_away(drone) {
        if !may_return(swarm, now, id) {
            let reason = "it returned and signed off again moments ago; it gets work in a few seconds";
            return Ok((events, Reply::Claim(Box::new(nothing(reason.to_owned())))));
        }
        events.push(Event::DroneReturned { drone: id });
    }
    if let Some(reason) = held(swarm, id, drone).or_else(|| explain::paused(swarm, now)) {
        return Ok((events, Reply::Claim(Box::new(nothing(reason)))));
    }
    let attempt = AttemptId(swarm.last.attempt + 1);
    let key = request.key.clone();
    let reply = match choose(swarm, now, id, drone, request.memory_free_bytes) {
        Choice::Plan(run) => {
            events.push(Event::PlanDelegated { run, attempt, drone: id, key });
            ClaimReply { assignment: assignment(swarm, attempt, Job::Plan(run), drone, &[]), reason: None }
        }
        Choice::Base(run) => {
            events.push(Event::BaseDelegated { run, attempt, drone: id, key });
            ClaimReply { assignment: assignment(swarm, attempt, Job::Base(run), drone, &[]), reason: None }
        }
        Choice::Build { package, duplicate_of } => {
            let build_ids = next_build_ids(swarm, package);
            let reply = ClaimReply {
                assignment: assignment(swarm, attempt, Job::Build(package), drone, &build_ids),
                reason: None,
            };
            let drone = id;
            let returned = false;
            events.push(Event::PackageDelegated {
                package,
                attempt,
                drone,
                key,
                build_ids,
                duplicate_of,
                returned,
            });
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

/// Why a drone gets no work regardless of the queue.
fn held(swarm: &Swarm, id: DroneId, drone: &Drone) -> Option<String> {
    // The claim itself shows that the drone is not silent.
    match drone.state_when_heard() {
        DroneState::Pending => {
            let approve = Action::ApproveDrone { drone: drone.name.clone() }.command();
            Some(format!("not approved yet: `{approve}`"))
        }
        DroneState::Draining => Some(format!("draining: {}", text::optional_reason(drone.draining.as_ref()))),
        DroneState::Grounded => {
            drone.grounded.as_ref().map(|g| format!("grounded: {}", text::reason(&g.reason)))
        }
        DroneState::Online | DroneState::Offline | DroneState::Lost => {
            let building =
                swarm.attempts_of(id).filter(|(_, a)| a.is_building()).map(|(id, _)| id.to_string());
            let building: Vec<String> = building.collect();
            let full = building.len() >= drone.slots();
            full.then(|| format!("it has {} already", building.join(", ")))
        }
    }
}

/// The reason for which this drone would be denied work now, or `None` if it would get work.
pub(crate) fn would_be_told(swarm: &Swarm, now: TimeMs, id: DroneId, drone: &Drone) -> Option<String> {
    match choose(swarm, now, id, drone, 0) {
        Choice::Nothing(reason) => Some(reason),
        Choice::Plan(_) | Choice::Base(_) | Choice::Build { .. } => None,
    }
}

/// For each target, a build id that no profile has used for that version, since profiles reuse each other's
/// packages.
pub(crate) fn next_build_ids(swarm: &Swarm, id: PackageId) -> Vec<u32> {
    let Some(package) = swarm.packages.get(&id) else { return Vec::new() };
    let last = |cpv| swarm.profiles.values().filter_map(|p| p.build_ids.get(cpv)).max().copied().unwrap_or(0);
    let targets = package.targets.iter().filter_map(Target::portage);
    targets.map(|t| last(&t.cpv).max(swarm.build_ids_skipped) + 1).collect()
}

/// Describes an attempt for its drone. `None` if the records of the attempt are gone.
fn assignment(
    swarm: &Swarm,
    attempt: AttemptId,
    job: Job,
    drone: &Drone,
    build_ids: &[u32],
) -> Option<Assignment> {
    let run_id = match job {
        Job::Plan(run) | Job::Base(run) => run,
        Job::Build(id) => swarm.packages.get(&id)?.run,
    };
    let run = swarm.runs.get(&run_id)?;
    let (work, jobs) = match job {
        Job::Plan(_) => (Work::Plan, 0),
        Job::Base(_) => (Work::Base, 0),
        Job::Build(id) => {
            let package = swarm.packages.get(&id)?;
            let order = BuildOrder {
                package: id,
                targets: package.targets_with(&sent_build_ids(build_ids)),
                stages: (*package.stages).clone(),
                dependencies: closure::dependencies(swarm, id, &run.base),
                inputs: closure::inputs(swarm, id, &run.base),
                derivations: run.derivations,
                key: Some(package.strict_key),
            };
            (Work::Build(order), memory::jobs(swarm, id, drone))
        }
    };
    let base = match job {
        Job::Base(run) => follow::base_for(swarm, run)?,
        Job::Plan(_) | Job::Build(_) => run.base.clone(),
    };
    let policy = &swarm.policy;
    Some(Assignment {
        attempt,
        run: run_id,
        profile: run.profile.clone(),
        snapshot: run.snapshot,
        // The HTTP handler fills it in.
        binhost: String::new(),
        base,
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
