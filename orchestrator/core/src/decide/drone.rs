//! Drones report for duty: heartbeats and sign-offs.

use super::{Decision, already, known};
use crate::{
    attempt::{Ending, Job},
    command::Reply,
    drone::Drone,
    event::Event,
    follow,
    judge::return_job,
    refusal::Refusal,
    swarm::Swarm,
};
use std::collections::BTreeSet;
use swarm_common::{id::*, state::*, time::TimeMs, wire::drone::*};

/// Characters of why a drone's files do not get through.
const LONGEST_WHY: usize = 300;

/// A drone lives. Renews the leases it names, takes over the phases, revives lost
/// attempts that nobody else works on, and answers which attempts are not wanted.
pub(super) fn heartbeat(swarm: &Swarm, now: TimeMs, id: DroneId, request: &HeartbeatRequest) -> Decision {
    let drone = known(swarm, id)?;
    if let Some(what) = other_machine(drone, request) {
        return Err(Refusal::OtherMachine { name: drone.name.clone(), what });
    }
    let own = |id_of: AttemptId| swarm.attempts.get(&id_of).is_some_and(|a| a.drone == id);
    let stuck = |status: &AttemptStatus| {
        let Stuck { for_ms, why } = status.stuck.as_ref()?;
        let why = why.chars().filter(|c| !c.is_control()).take(LONGEST_WHY).collect();
        own(status.attempt).then_some((status.attempt, Stuck { for_ms: *for_ms, why }))
    };
    let mut events = vec![Event::DroneSeen {
        drone: id,
        vitals: Some(request.vitals),
        draining: request.draining,
        stuck: request.attempts.iter().filter_map(stuck).collect(),
    }];
    if drone.offline.is_some() || drone.lost.is_some() {
        events.push(Event::DroneReturned { drone: id });
    }
    if !request.boot_id.is_empty() && request.boot_id != drone.facts.boot_id {
        events.push(Event::DroneRebooted { drone: id, boot_id: request.boot_id.clone() });
    }
    if let Some(facts) = &request.facts {
        // By these it is known which machine it is, and healing relies on that.
        let DroneFacts { machine_id, boot_id, .. } = drone.facts.clone();
        let facts = DroneFacts { machine_id, boot_id, ..facts.clone() };
        if facts != drone.facts {
            events.push(Event::DroneFactsChanged { drone: id, facts });
        }
    }
    let (mut renewed, mut cancel) = (Vec::new(), Vec::new());
    let mut revived = BTreeSet::new();
    for status in &request.attempts {
        match wanted(swarm, id, status.attempt) {
            Ok(Wanted::Live) => renewed.push(status.attempt),
            Ok(Wanted::Revived(package)) if revived.insert(package) => {
                events.push(Event::AttemptRevived { attempt: status.attempt });
            }
            // Two of its slots may be at one package: it asked before it said what it still had.
            Ok(Wanted::Revived(_) | Wanted::Racing) => {}
            Err(reason) => {
                cancel.push(Cancellation { attempt: status.attempt, reason });
                continue;
            }
        }
        let known = swarm.attempts.get(&status.attempt).map(|a| a.phase());
        if known.is_some_and(|phase| status.phase > phase) {
            events.push(Event::AttemptPhaseReached { attempt: status.attempt, phase: status.phase });
        }
    }
    if !renewed.is_empty() {
        events.push(Event::LeasesRenewed { attempts: renewed, until: now + swarm.policy.lease_ms });
    }
    let state = drone.state_when_heard();
    let name = Some(drone.name.clone());
    Ok((events, Reply::Heartbeat(HeartbeatReply { cancel, state, now, name })))
}

/// How it is known that a heartbeat comes from another machine than the one that enrolled, as
/// after a disk was cloned. A boot id never returns, so one that was left behind belongs to a
/// machine that runs beside the one that is heard now.
fn other_machine(drone: &Drone, request: &HeartbeatRequest) -> Option<String> {
    let (own, told) = (&drone.facts.machine_id, request.facts.as_ref().map(|facts| &facts.machine_id));
    if let Some(told) = told.filter(|told| !told.is_empty() && !own.is_empty() && *told != own) {
        return Some(format!("the machine id of {} is {own}, that of this one {told}", drone.name));
    }
    let left = drone.former_boots.contains(&request.boot_id);
    left.then(|| {
        format!("{} was started since, and this one was not: it has the boot id of before", drone.name)
    })
}

/// A machine was refused because it is another one: people are to see it.
pub(super) fn note_clone(swarm: &Swarm, drone: DroneId, what: &str) -> Decision {
    known(swarm, drone)?;
    Ok((vec![Event::DroneCloned { drone, what: what.to_owned() }], Reply::Done))
}

enum Wanted {
    Live,
    /// It was lost, but nobody else took the work.
    Revived(PackageId),
    /// It was lost and another attempt is at the work; the first to deliver wins.
    Racing,
}

fn wanted(swarm: &Swarm, drone: DroneId, id: AttemptId) -> Result<Wanted, String> {
    let Some(attempt) = swarm.attempts.get(&id).filter(|a| a.drone == drone) else {
        return Err("this drone has no such attempt".into());
    };
    match (&attempt.ending, attempt.job) {
        (None, _) => Ok(Wanted::Live),
        (Some(Ending::Lost(_)), Job::Build(package)) => match swarm.packages.get(&package).map(|p| p.state) {
            Some(PackageState::Needed) => Ok(Wanted::Revived(package)),
            Some(PackageState::Delegated) => Ok(Wanted::Racing),
            Some(state) => Err(format!("the package is {state}")),
            None => Err("the package is gone".into()),
        },
        (Some(Ending::Lost(_)), Job::Plan(run)) => match swarm.runs.get(&run).map(|r| r.state) {
            Some(RunState::Planning) => Ok(Wanted::Racing),
            _ => Err("the run has its plan".into()),
        },
        (Some(Ending::Lost(_)), Job::Base(run)) => match follow::of_run(swarm, run) {
            Some((.., following)) if following.after < id => Ok(Wanted::Racing),
            _ => Err("the base is not wanted any more".into()),
        },
        (Some(ending), _) => Err(ending.words()),
    }
}

/// A drone stops. What it has not finished is needed again at once, without a strike.
pub(super) fn sign_off(swarm: &Swarm, now: TimeMs, id: DroneId, reason: &str) -> Decision {
    let drone = known(swarm, id)?;
    if drone.offline.is_some() {
        return already();
    }
    let mut events = Vec::new();
    for (attempt, record) in swarm.attempts_of(id) {
        events.push(Event::AttemptHandedBack { attempt, reason: reason.to_owned() });
        let reason = format!("{} signed off: {reason}", drone.name);
        events.extend(return_job(swarm, now, record.job, &[attempt], reason));
    }
    events.push(Event::DroneWentOffline { drone: id, reason: format!("signed off: {reason}") });
    Ok((events, Reply::Done))
}
