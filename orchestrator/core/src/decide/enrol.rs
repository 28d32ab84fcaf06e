//! Decides enrolment and what an admin does with drones.

use super::{Decision, already, known};
use crate::{
    decision::was_restored, event::Event, reason::Reason, refusal::Refusal, reply::Reply, state::Swarm,
};
use swarm_common::{
    digest::Digest,
    id::*,
    name::Name,
    state::DroneState,
    time::TimeMs,
    wire::{concern::Action, drone::DroneFacts},
};

/// The maximum number of returned drones that wait for approval.
const MOST_RETURNED: usize = 32;

pub(super) fn enrol(
    swarm: &Swarm,
    now: TimeMs,
    token_hash: Digest,
    name: &Name,
    credential_hash: Digest,
    facts: &DroneFacts,
) -> Decision {
    // The drone repeats its request, because the answer to the first was lost.
    if let Some((&drone, known)) = swarm.drones.iter().find(|(_, d)| d.credential_hash == credential_hash) {
        return if known.name == *name {
            Ok((Vec::new(), Reply::Drone(drone)))
        } else {
            Err(Refusal::BadEnrolToken)
        };
    }
    let token = swarm.tokens.get(&token_hash).filter(|t| now < t.expires_at);
    let returned = token_hash == Digest::of(b"") && may_return(swarm, now, &credential_hash);
    if token.is_none() && !returned {
        return Err(Refusal::BadEnrolToken);
    }
    if swarm.drones.values().any(|d| d.name == *name) {
        return Err(Refusal::NameTaken(name.clone()));
    }
    let drone = DroneId(swarm.last.drone + 1);
    let event = Event::DroneEnrolled {
        drone,
        name: name.clone(),
        token_hash,
        credential_hash,
        facts: facts.clone(),
        approved: token.is_some_and(|token| token.approved),
        returned,
    };
    Ok((vec![event], Reply::Drone(drone)))
}

/// Whether a machine without a token may be a drone that enrolled after the backup that the journal was
/// restored from. It gets no work until an admin approves it.
fn may_return(swarm: &Swarm, now: TimeMs, credential_hash: &Digest) -> bool {
    let returned = swarm.drones.values().filter(|drone| drone.returned && !drone.approved).count();
    was_restored(swarm, now) && swarm.removed.get(credential_hash).is_none() && returned < MOST_RETURNED
}

pub(super) fn approve(swarm: &Swarm, drone: DroneId) -> Decision {
    if known(swarm, drone)?.approved {
        return already();
    }
    Ok((vec![Event::DroneApproved { drone }], Reply::Done))
}

pub(super) fn drain(swarm: &Swarm, drone: DroneId) -> Decision {
    if known(swarm, drone)?.draining.is_some() {
        return already();
    }
    Ok((vec![Event::DroneDrained { drone, reason: Reason::DrainedByAdmin }], Reply::Done))
}

pub(super) fn resume(swarm: &Swarm, drone: DroneId) -> Decision {
    let record = known(swarm, drone)?;
    match record.state() {
        DroneState::Pending => Err(Refusal::WrongState {
            what: format!("drone {}", record.name),
            state: "pending".into(),
            hint: format!(
                "approve it with `{}`",
                Action::ApproveDrone { drone: record.name.clone() }.command()
            ),
        }),
        DroneState::Online if record.strikes.is_empty() => already(),
        _ => Ok((vec![Event::DroneResumed { drone }], Reply::Done)),
    }
}

pub(super) fn remove(swarm: &Swarm, now: TimeMs, drone: DroneId) -> Decision {
    known(swarm, drone)?;
    let mut events = Vec::new();
    super::maintenance::lose_all(&mut events, swarm, now, drone, &Reason::DroneRemoved);
    events.push(Event::DroneRemoved { drone });
    Ok((events, Reply::Done))
}
