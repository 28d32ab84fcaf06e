//! Decides schedules, timers of other machines and pauses: setting them, what happens at a due time, and when a pause
//! ends.

use super::{Decision, admin, already};
use crate::{
    event::Event,
    reason::Reason,
    refusal::Refusal,
    reply::Reply,
    state::{DueOutcome, Forecast, Swarm},
    text::span,
};
use std::ops::RangeInclusive;
use swarm_common::{
    name::Name,
    state::RunClass,
    time::TimeMs,
    wire::calendar::{ScheduleRequest, TimerRequest},
};

/// How often a timer may run, in milliseconds. Bounded from below because each time is journaled.
const TIMER_MS: RangeInclusive<u64> = 60_000..=366 * 24 * 3_600_000;

/// Sets a schedule. The forecast proves that the cron text and time zone are valid.
pub(super) fn put_schedule(
    swarm: &Swarm,
    profile: &Name,
    request: &ScheduleRequest,
    forecast: Forecast,
) -> Decision {
    if !swarm.profiles.contains_key(profile) {
        return Err(Refusal::UnknownProfile(profile.clone()));
    }
    let ScheduleRequest { cron, zone, enabled } = request;
    let same = |s: &crate::state::Schedule| (&s.cron, &s.zone, &s.enabled) == (cron, zone, enabled);
    if swarm.schedules.get(profile).is_some_and(same) {
        return already();
    }
    let event = Event::SchedulePut { profile: profile.clone(), request: request.clone(), forecast };
    Ok((vec![event], Reply::Done))
}

pub(super) fn remove_schedule(swarm: &Swarm, profile: &Name) -> Decision {
    if !swarm.schedules.contains_key(profile) {
        return Err(Refusal::UnknownSchedule(profile.clone()));
    }
    Ok((vec![Event::ScheduleRemoved { profile: profile.clone() }], Reply::Done))
}

/// Replaces a forecast: either the rules of the time zone have changed, or the clock it was computed with was
/// wrong.
pub(super) fn foresee(swarm: &Swarm, profile: &Name, forecast: Forecast) -> Decision {
    match swarm.schedules.get(profile) {
        None => Err(Refusal::UnknownSchedule(profile.clone())),
        Some(schedule) if schedule.forecast == forecast => already(),
        Some(_) => Ok((vec![Event::ScheduleForeseen { profile: profile.clone(), forecast }], Reply::Done)),
    }
}

/// Handles a due time. It starts at most one run, however often it is reported. If several due
/// times were missed, the shell reports only the last.
pub(super) fn handle_due(
    swarm: &Swarm,
    now: TimeMs,
    profile: &Name,
    due: TimeMs,
    forecast: Forecast,
) -> Decision {
    let schedule = swarm.schedules.get(profile).ok_or_else(|| Refusal::UnknownSchedule(profile.clone()))?;
    // The shell uses the wall clock, which may differ from the engine's clock, so `due` is not
    // compared with `now`.
    if forecast.next <= due {
        return Err(Refusal::Invalid(format!("the time after a due time of {profile} precedes it")));
    }
    if !schedule.enabled || due <= schedule.handled {
        return already();
    }
    let (mut events, outcome) = match admin::start_run(swarm, profile, RunClass::Nightly) {
        Ok((events, Reply::Run(run))) => (events, DueOutcome::Started(run)),
        Ok(_) => (Vec::new(), DueOutcome::Skipped(Reason::NotStarted)),
        Err(Refusal::RunUnderWay { run, .. }) => {
            let age_ms = swarm.runs.get(&run).map_or(0, |r| now.since(r.started_at));
            (Vec::new(), DueOutcome::Skipped(Reason::StillRunning { run, age_ms }))
        }
        Err(Refusal::UnknownBase(base)) => {
            (Vec::new(), DueOutcome::Skipped(Reason::NoBase { base: Box::new(base) }))
        }
        // A profile with a schedule is known.
        Err(_) => (Vec::new(), DueOutcome::Skipped(Reason::NotStarted)),
    };
    events.push(Event::DueHandled { profile: profile.clone(), due, outcome, forecast });
    Ok((events, Reply::Done))
}

/// Notes that the timer that updates a profile ran.
pub(super) fn note_timer(swarm: &Swarm, profile: &Name, timer: &TimerRequest) -> Decision {
    if !swarm.profiles.contains_key(profile) {
        return Err(Refusal::UnknownProfile(profile.clone()));
    }
    if !TIMER_MS.contains(&timer.every_ms) {
        return Err(Refusal::Invalid(format!(
            "a timer that runs every {} is out of range: choose {} to {}",
            span(timer.every_ms),
            span(*TIMER_MS.start()),
            span(*TIMER_MS.end())
        )));
    }
    Ok((vec![Event::TimerRan { profile: profile.clone(), timer: timer.clone() }], Reply::Done))
}

pub(super) fn remove_timer(swarm: &Swarm, profile: &Name) -> Decision {
    let known = swarm.profiles.get(profile).ok_or_else(|| Refusal::UnknownProfile(profile.clone()))?;
    match known.timer {
        None => already(),
        Some(_) => Ok((vec![Event::TimerRemoved { profile: profile.clone() }], Reply::Done)),
    }
}

pub(super) fn pause(swarm: &Swarm, now: TimeMs, for_ms: u64, reason: &str) -> Decision {
    let longest = swarm.policy.pause_max_ms;
    if for_ms == 0 || for_ms > longest {
        return Err(Refusal::Invalid(format!(
            "a pause of {} is out of range: choose 1 s to {}; a pause can be extended while it lasts",
            span(for_ms),
            span(longest)
        )));
    }
    Ok((vec![Event::PauseBegun { until: now + for_ms, reason: Reason::admin(reason) }], Reply::Done))
}

pub(super) fn unpause(swarm: &Swarm) -> Decision {
    match swarm.pause {
        None => already(),
        Some(_) => Ok((vec![Event::PauseEnded { reason: Reason::EndedByAdmin }], Reply::Done)),
    }
}

/// Ends the pause if its time is over.
pub(super) fn end_of_pause(swarm: &Swarm, now: TimeMs) -> Option<Event> {
    let over = swarm.pause.as_ref().is_some_and(|pause| pause.until <= now);
    over.then_some(Event::PauseEnded { reason: Reason::Expired })
}
