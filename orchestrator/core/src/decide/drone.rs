//! Decides heartbeats and sign-offs.

use super::{Decision, already, known, returned::Unknown, skip};
use crate::{
    decision::{CHANGES_EVERY_MS, is_away, is_overdue, may_return},
    event::Event,
    judge::return_job,
    reason::{Reason, SignedOff},
    refusal::{CloneSign, Refusal},
    reply::Reply,
    state::{Drone, Ending, Job, Swarm},
    text,
};
use std::collections::BTreeSet;
use swarm_common::{
    id::*,
    state::*,
    time::TimeMs,
    wire::{concern::Offline, drone::*},
};

/// The maximum length of the reason kept for a failed delivery, in characters.
const LONGEST_WHY: usize = 300;

/// Handles a heartbeat: renews the leases of the attempts it names, records their phases, revives
/// lost attempts that no other drone works on, and returns the attempts that are no longer wanted.
pub(super) fn heartbeat(
    swarm: &Swarm,
    now: TimeMs,
    entropy: u64,
    id: DroneId,
    request: &HeartbeatRequest,
) -> Decision {
    let drone = known(swarm, id)?;
    if let Some(refusal) = other_machine(swarm, now, (id, drone), request) {
        return Err(refusal);
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
    let returns = is_away(drone) && may_return(swarm, now, id);
    if returns {
        events.push(Event::DroneReturned { drone: id });
    }
    let seen = request.highest_attempt;
    let rolled_back = seen.map(|seen| skip::rolled_back(swarm, now, entropy, id, seen)).unwrap_or_default();
    let mut unknown = Unknown::new(swarm, now, (id, drone), &request.attempts, !rolled_back.is_empty());
    events.extend(rolled_back);
    let changes = changes(drone, id, request);
    let before = swarm.live.changed.get(&id);
    let facts_deferred = !changes.is_empty() && before.is_some_and(|&at| now.since(at) < CHANGES_EVERY_MS);
    if !facts_deferred {
        events.extend(changes);
    }
    let (mut renewed, mut cancel, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    let mut revived = BTreeSet::new();
    for status in &request.attempts {
        if !swarm.attempts.contains_key(&status.attempt) {
            match unknown.attempt(status) {
                Ok(taken_back) if !taken_back.is_empty() && (returns || !is_away(drone)) => {
                    events.extend(taken_back);
                }
                Ok(_) => kept.push(status.attempt),
                Err(refusal) => {
                    let reason = refusal.to_string();
                    cancel.push(Cancellation { attempt: status.attempt, reason });
                }
            }
            continue;
        }
        match standing(swarm, now, id, status.attempt) {
            Ok(AttemptStanding::Live) => renewed.push(status.attempt),
            // A drone that may not return yet gets its work back when it does.
            Ok(AttemptStanding::Revived(package))
                if (returns || !is_away(drone)) && revived.insert(package) =>
            {
                events.push(Event::AttemptRevived { attempt: status.attempt });
            }
            // Two slots of one drone may have the same package, if the drone claimed before it reported its
            // remaining work.
            Ok(AttemptStanding::Revived(_) | AttemptStanding::Racing) => {}
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
    Ok((events, Reply::Heartbeat(HeartbeatReply { cancel, kept, state, now, name, facts_deferred })))
}

/// The events for what a heartbeat reports and the journal does not have yet.
fn changes(drone: &Drone, id: DroneId, request: &HeartbeatRequest) -> Vec<Event> {
    let mut events = Vec::new();
    if !request.boot_id.is_empty() && request.boot_id != drone.facts.boot_id {
        events.push(Event::DroneRebooted { drone: id, boot_id: request.boot_id.clone() });
    }
    if let Some(facts) = &request.facts {
        // These identify the machine and healing relies on them, so the enrolled values stay.
        let DroneFacts { machine_id, boot_id, .. } = drone.facts.clone();
        let facts = DroneFacts { machine_id, boot_id, ..facts.clone() };
        if facts != drone.facts {
            events.push(Event::DroneFactsChanged { drone: id, facts });
        }
    }
    events
}

/// Whether a heartbeat comes from another machine than the enrolled one, as after a disk was cloned: its
/// machine id differs, or it has an earlier boot id while the current one is heard as well.
///
/// An earlier boot id alone proves nothing: a virtual machine returns to it when its memory is restored, and
/// a container has that of its host. So such a heartbeat is only deferred until the current boot id has been
/// silent for two offline periods, and refused for good if both are heard alternately.
fn other_machine(
    swarm: &Swarm,
    now: TimeMs,
    (id, drone): (DroneId, &Drone),
    request: &HeartbeatRequest,
) -> Option<Refusal> {
    let name = drone.name.clone();
    let (own, reported) = (&drone.facts.machine_id, request.facts.as_ref().map(|facts| &facts.machine_id));
    if let Some(reported) =
        reported.filter(|reported| !reported.is_empty() && !own.is_empty() && *reported != own)
    {
        let sign = CloneSign::MachineId { own: own.clone(), reported: reported.clone() };
        return Some(Refusal::OtherMachine { name, sign });
    }
    let patience = 2 * swarm.policy.offline_after_ms;
    let heard = swarm.live.beaten.get(&id).copied().unwrap_or(swarm.live.started_at);
    let is_earlier = request.boot_id != drone.facts.boot_id && drone.former_boots.contains(&request.boot_id);
    if !is_earlier || now.since(heard) > patience {
        return None;
    }
    let sign = CloneSign::EarlierBoot;
    let noted = swarm.live.cloned.get(&id).filter(|(at, noted)| *noted == sign && now.since(*at) <= patience);
    Some(match noted {
        Some((at, _)) if heard > *at => Refusal::OtherMachine { name, sign },
        _ => Refusal::EarlierBoot { name, sign, wait_ms: patience.saturating_sub(now.since(heard)) },
    })
}

/// Records that another machine may have used the drone's credential and was refused, so that admins see it.
pub(super) fn note_clone(swarm: &Swarm, drone: DroneId, sign: &CloneSign) -> Decision {
    known(swarm, drone)?;
    Ok((vec![Event::DroneCloned { drone, sign: sign.clone() }], Reply::Done))
}

/// What an attempt that a drone reports still counts for.
enum AttemptStanding {
    Live,
    /// The attempt was lost, but no other attempt has its work.
    Revived(PackageId),
    /// The attempt was lost, and another attempt has its work or will get it. The first to deliver wins.
    Racing,
}

fn standing(swarm: &Swarm, now: TimeMs, drone: DroneId, id: AttemptId) -> Result<AttemptStanding, String> {
    let Some(attempt) = swarm.attempts.get(&id).filter(|a| a.drone == drone) else {
        return Err("this drone has no such attempt".into());
    };
    match (&attempt.ending, attempt.job) {
        (None, _) => Ok(AttemptStanding::Live),
        (Some(Ending::Lost(_)), Job::Build(package)) => match swarm.packages.get(&package).map(|p| p.state) {
            Some(PackageState::Needed) if is_overdue(swarm, now, attempt) => Ok(AttemptStanding::Racing),
            Some(PackageState::Needed) => Ok(AttemptStanding::Revived(package)),
            Some(PackageState::Delegated) => Ok(AttemptStanding::Racing),
            Some(state) => Err(format!("the package is {state}")),
            None => Err("the package is gone".into()),
        },
        (Some(Ending::Lost(_)), Job::Plan(run)) => match swarm.runs.get(&run).map(|r| r.state) {
            Some(RunState::Planning) => Ok(AttemptStanding::Racing),
            _ => Err("the run has its plan".into()),
        },
        (Some(Ending::Lost(_)), Job::Base(run)) => match swarm.following(run) {
            Some((.., following)) if following.after < id => Ok(AttemptStanding::Racing),
            _ => Err("the base is no longer needed".into()),
        },
        (Some(ending), _) => Err(text::ending(ending)),
    }
}

/// A drone shuts down. Its unfinished work is needed again at once, without a strike.
pub(super) fn sign_off(swarm: &Swarm, now: TimeMs, id: DroneId, reason: &str) -> Decision {
    let drone = known(swarm, id)?;
    if drone.offline.is_some() {
        return already();
    }
    let mut events = Vec::new();
    for (attempt, record) in swarm.attempts_of(id) {
        events.push(Event::AttemptHandedBack { attempt, reason: Reason::Drone { text: reason.into() } });
        // After a restore the drone may have two attempts at one package.
        let ended: Vec<AttemptId> = events.iter().filter_map(Event::ends).collect();
        let off = SignedOff { drone: drone.name.clone(), text: reason.to_owned() };
        let off = Reason::SignedOff(Box::new(off));
        events.extend(return_job(swarm, now, record.job, &ended, off));
    }
    events.push(Event::offline(id, Offline::SignedOff(reason.to_owned())));
    Ok((events, Reply::Done))
}
