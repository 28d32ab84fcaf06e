//! Decides what drones deliver: plans, packages, failures and returned work. All of it passes the
//! [`fence`](crate::fence) first.

use super::{Decision, reuse};
use crate::{
    closure,
    command::Request,
    event::Event,
    fence::{Fence, fence},
    follow,
    judge::{
        self, Verdict, return_job,
        strike::{self, strike},
    },
    plan,
    reason::{Reason, Rejected},
    refusal::Refusal,
    reply::Reply,
    shared::Shared,
    state::{Collision, Ending, Job, Swarm},
};
use std::sync::Arc;
use swarm_common::{
    id::*,
    state::*,
    time::TimeMs,
    wire::{artifact::Artifact, drone::*, plan::PlanReport},
};

fn answer(accepted: bool, reason: impl Into<String>) -> Reply {
    Reply::Report(ReportReply { accepted, reason: reason.into() })
}

fn job_of(swarm: &Swarm, attempt: AttemptId) -> Result<Job, Refusal> {
    swarm.attempts.get(&attempt).map(|a| a.job).ok_or(Refusal::UnknownAttempt(attempt))
}

pub(super) fn receive_plan(
    swarm: &Swarm,
    now: TimeMs,
    drone: DroneId,
    attempt: AttemptId,
    report: &Arc<PlanReport>,
    usage: Usage,
) -> Decision {
    let Job::Plan(run) = job_of(swarm, attempt)? else {
        return Err(Refusal::Invalid(format!(
            "attempt {attempt} is not a plan, so a plan cannot be \
             delivered for it"
        )));
    };
    if fence(swarm, drone, attempt)? == Fence::Repeat {
        return Ok((Vec::new(), answer(true, "the plan was received")));
    }
    plan::check(report).map_err(Refusal::Invalid)?;
    let first_package = PackageId(swarm.last.package + 1);
    let mut events =
        vec![Event::PlanReceived { run, attempt, first_package, plan: Arc::clone(report), usage }];
    events.extend(reuse::known(swarm, now, run, first_package, report));
    Ok((events, answer(true, "the plan was received")))
}

pub(super) fn receive_package(
    swarm: &Swarm,
    now: TimeMs,
    drone: DroneId,
    attempt: AttemptId,
    artifacts: &[Artifact],
    usage: Usage,
) -> Decision {
    let Job::Build(package) = job_of(swarm, attempt)? else {
        return Err(Refusal::Invalid(format!(
            "attempt {attempt} is not a build, so packages cannot be \
             delivered for it"
        )));
    };
    if fence(swarm, drone, attempt)? == Fence::Repeat {
        return Ok((Vec::new(), answer(true, "the package was received")));
    }
    let targets = swarm.packages.get(&package).map_or(0, |p| p.targets.len());
    if artifacts.len() != targets {
        let text =
            format!("attempt {attempt} delivers {} files where {targets} are expected", artifacts.len());
        return Err(Refusal::Invalid(text));
    }
    let mut events = strike::refuted(swarm, now, package, drone);
    let artifacts = Shared::from(artifacts.to_vec());
    events.push(Event::PackageReceived { package, attempt, artifacts: artifacts.clone(), usage });
    events.extend(reuse::by_others(swarm, package, &artifacts));
    Ok((events, answer(true, "the package was received")))
}

pub(super) fn note_collisions(collisions: &[Collision]) -> Decision {
    let found = || Event::CollisionsFound { collisions: collisions.to_vec() };
    Ok(((!collisions.is_empty()).then(found).into_iter().collect(), Reply::Done))
}

/// Handles a reported failure. The failure of a lost attempt is only recorded, since its work was
/// already returned to the queue.
pub(super) fn fail(
    swarm: &Swarm,
    request: &Request,
    drone: DroneId,
    attempt: AttemptId,
    failure: &Failure,
    usage: Usage,
) -> Decision {
    let Some((job, live)) = open(swarm, drone, attempt)? else {
        return Ok((Vec::new(), answer(true, "noted")));
    };
    let mut events = vec![Event::AttemptFailed { attempt, failure: failure.clone(), usage }];
    if live {
        let verdict = verdict(swarm, request, job, attempt, failure);
        if let Some(reason) = blame(swarm, job, drone, failure, &verdict) {
            strike(&mut events, swarm, request.now, drone, attempt, reason);
        }
        events.extend(consequences(swarm, request.now, job, attempt, verdict));
    }
    Ok((events, answer(true, "noted")))
}

/// Handles a file that the intake refused. It counts against the drone, which is faulty or
/// dishonest, and the package is tried elsewhere.
pub(super) fn reject(
    swarm: &Swarm,
    request: &Request,
    drone: DroneId,
    attempt: AttemptId,
    rejection: &Rejection,
) -> Decision {
    let Some((job, live)) = open(swarm, drone, attempt)? else {
        return Ok((Vec::new(), answer(true, "the package was received")));
    };
    let reason = &rejection.reason;
    let mut events = vec![Event::AttemptRejected { attempt, rejection: rejection.clone() }];
    if live {
        let failure = Failure {
            class: FailureClass::Package,
            cause: None,
            phase: Phase::Verifying,
            signature: rejection.kind.clone(),
            message: reason.clone(),
        };
        let verdict = verdict(swarm, request, job, attempt, &failure);
        events.extend(consequences(swarm, request.now, job, attempt, verdict));
        let refused = Rejected { kind: rejection.kind.clone(), text: reason.clone() };
        strike(&mut events, swarm, request.now, drone, attempt, Reason::Rejected(Box::new(refused)));
    }
    Ok((events, answer(false, reason)))
}

pub(super) fn hand_back(
    swarm: &Swarm,
    now: TimeMs,
    drone: DroneId,
    attempt: AttemptId,
    reason: &str,
) -> Decision {
    let Some((job, live)) = open(swarm, drone, attempt)? else {
        return Ok((Vec::new(), answer(true, "noted")));
    };
    let mut events =
        vec![Event::AttemptHandedBack { attempt, reason: Reason::Drone { text: reason.into() } }];
    if live {
        events.extend(return_job(swarm, now, job, &[attempt], Reason::HandedBack { text: reason.into() }));
    }
    Ok((events, answer(true, "noted")))
}

/// The job of an attempt that may still end, and whether the attempt is live. `None` if there is nothing left
/// to decide: the attempt was accepted, or its drone repeats a report because the answer was lost.
fn open(swarm: &Swarm, drone: DroneId, attempt: AttemptId) -> Result<Option<(Job, bool)>, Refusal> {
    let record = swarm.attempts.get(&attempt).ok_or(Refusal::UnknownAttempt(attempt))?;
    let ended_by_report =
        matches!(record.ending, Some(Ending::Failed(_) | Ending::Rejected(_) | Ending::HandedBack(_)));
    if record.drone == drone && ended_by_report {
        return Ok(None);
    }
    match fence(swarm, drone, attempt)? {
        Fence::Repeat => Ok(None),
        Fence::Open => Ok(Some((record.job, record.is_live()))),
    }
}

fn verdict(swarm: &Swarm, request: &Request, job: Job, attempt: AttemptId, failure: &Failure) -> Verdict {
    match job {
        Job::Plan(run) => judge::plan(swarm, run, failure, request.entropy),
        Job::Build(package) => judge::package(swarm, request.now, package, attempt, failure, request.entropy),
        Job::Base(run) => judge::base(swarm, run, attempt, failure, request.entropy),
    }
}

fn consequences(swarm: &Swarm, now: TimeMs, job: Job, attempt: AttemptId, verdict: Verdict) -> Vec<Event> {
    match (verdict, job) {
        (Verdict::Retry { after_ms, reason }, job) => {
            return_job(swarm, now + after_ms, job, &[attempt], reason).into_iter().collect()
        }
        (Verdict::GiveUp { reason, lasting }, Job::Build(package)) => {
            let mut events = strike::forgive(swarm, package);
            // A build that failed beside a program that lacks a soname may succeed once that program is
            // rebuilt.
            let lasting = lasting && !closure::conflicts(swarm, package);
            events.push(Event::PackageQuarantined { package, reason, lasting });
            events
        }
        (Verdict::GiveUp { reason, .. }, Job::Plan(run)) => {
            vec![Event::RunEnded { run, state: RunState::Failed, reason: Some(reason) }]
        }
        (Verdict::GiveUp { reason, .. }, Job::Base(run)) => {
            follow::give_up(swarm, run, reason).into_iter().collect()
        }
    }
}

/// Why a failure counts against the drone, or `None`. It does not if it makes the package itself
/// count as broken, or if the build was killed for its memory use.
fn blame(swarm: &Swarm, job: Job, drone: DroneId, failure: &Failure, verdict: &Verdict) -> Option<Reason> {
    if failure.cause == Some(FailureCause::OutOfMemory) {
        return None;
    }
    match (failure.class, job, verdict) {
        (FailureClass::Drone, ..) => Some(Reason::DroneFault { error: failure.headline().into() }),
        (FailureClass::Package | FailureClass::Timeout, Job::Build(package), Verdict::Retry { .. }) => {
            strike::suspicion(swarm, drone, package, failure)
        }
        _ => None,
    }
}
