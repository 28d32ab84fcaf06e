//! What time alone changes: leases expire, drones go offline, pauses end.
//!
//! Level-triggered: each pass looks at the whole state and does what is missing, so that it also
//! catches up on passes that were skipped.

use crate::{
    decision::is_overdue,
    event::Event,
    judge,
    reason::{LostAttempt, Reason, TriesUsedUp},
    standstill,
    state::{Attempt, Drone, Grounding, Job, Swarm},
};
use swarm_common::{id::*, state::*, time::TimeMs, wire::concern::Offline};

pub(super) fn maintain(swarm: &Swarm, now: TimeMs) -> Vec<Event> {
    let mut events: Vec<Event> = super::calendar::end_of_pause(swarm, now).into_iter().collect();
    for (&token_hash, _) in swarm.tokens.iter().filter(|(_, t)| t.expires_at <= now) {
        events.push(Event::EnrolTokenExpired { token_hash });
    }
    for (&drone, record) in &swarm.drones {
        let over = |g: &Grounding| g.until <= now || judge::strike::is_needed_back(swarm, drone);
        if record.grounded.as_ref().is_some_and(over) {
            events.push(Event::DroneUngrounded { drone });
        }
        let silent_ms = now.since(swarm.live.seen.get(&drone).copied().unwrap_or_default());
        let in_grace = now < swarm.grace_until();
        if record.approved
            && record.offline.is_none()
            && !in_grace
            && silent_ms > swarm.policy.offline_after_ms
        {
            let why = Offline::Silent { ms: silent_ms };
            lose_all(&mut events, swarm, now, drone, &Reason::Silent { ms: silent_ms });
            events.push(Event::offline(drone, why));
            continue;
        }
        for (id, attempt) in swarm.attempts_of(drone) {
            if swarm.live.leases.get(&id).is_none_or(|&until| until < now) {
                lose(&mut events, swarm, now, id, attempt, &Reason::LeaseExpired);
            } else if is_overdue(swarm, now, attempt) {
                lose(&mut events, swarm, now, id, attempt, &Reason::TimeExceeded);
            }
        }
    }
    events.extend(super::heal::overdue(swarm, now));
    events.extend(standstill::found(swarm, now));
    events
}

/// When time alone next changes something, if no request comes before. `None` if that may be at any
/// moment: work is running or waiting, or a drone is silent or grounded.
pub(super) fn next_due(swarm: &Swarm) -> Option<TimeMs> {
    let needs_polling = |drone: &Drone| match drone.state() {
        DroneState::Offline => !drone.signed_off(),
        DroneState::Grounded => true,
        DroneState::Online | DroneState::Pending | DroneState::Draining | DroneState::Lost => false,
    };
    let follows = swarm.bases.values().any(|base| base.following.is_some());
    if follows
        || swarm.runs.values().any(|run| !run.state.is_over())
        || swarm.drones.values().any(needs_polling)
    {
        return None;
    }
    let heard = swarm.drones.iter().filter(|(_, drone)| drone.approved && drone.offline.is_none());
    let silent = heard.map(|(id, _)| {
        let seen = swarm.live.seen.get(id).copied().unwrap_or_default();
        (seen + swarm.policy.offline_after_ms + 1).max(swarm.grace_until())
    });
    let tokens = swarm.tokens.values().map(|token| token.expires_at);
    let pause = swarm.pause.iter().map(|pause| pause.until);
    silent.chain(tokens).chain(pause).min().or(Some(TimeMs(u64::MAX)))
}

/// Ends every live attempt of a drone as lost. Appends to `events`, the decision so far.
pub(super) fn lose_all(events: &mut Vec<Event>, swarm: &Swarm, now: TimeMs, drone: DroneId, reason: &Reason) {
    for (id, attempt) in swarm.attempts_of(drone) {
        lose(events, swarm, now, id, attempt, reason);
    }
}

fn lose(events: &mut Vec<Event>, swarm: &Swarm, now: TimeMs, id: AttemptId, attempt: &Attempt, why: &Reason) {
    events.push(Event::AttemptLost { attempt: id, reason: why.clone() });
    let lost = LostAttempt { attempt: id, drone: attempt.drone_name.clone(), why: why.clone() };
    let last = Reason::AttemptLost(Box::new(lost));
    // A straggler and its duplicate may be lost together.
    let ended: Vec<AttemptId> = events.iter().filter_map(Event::ends).collect();
    // A lost attempt does not count against its package, but a package that brings down every drone must not
    // be retried for ever.
    match attempt.job {
        Job::Build(package) if let Some(limit) = judge::spent(swarm, package, &ended) => {
            let reason = Reason::TriesUsedUp(Box::new(TriesUsedUp { limit, last }));
            events.push(Event::PackageQuarantined { package, reason, lasting: false });
        }
        job => events.extend(judge::return_job(swarm, now, job, &ended, last)),
    }
}
