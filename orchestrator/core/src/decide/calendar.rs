//! Schedules and the pause: what is set, what a due time leads to, and when a pause ends.

use super::{Decision, admin, already};
use crate::{
    calendar::{DueOutcome, Forecast, span},
    command::Reply,
    event::Event,
    refusal::Refusal,
    swarm::Swarm,
};
use swarm_common::{name::Name, state::RunClass, time::TimeMs, wire::calendar::ScheduleRequest};

/// Text and zone have been checked, as the forecast shows.
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
    let same = |s: &crate::calendar::Schedule| (&s.cron, &s.zone, &s.enabled) == (cron, zone, enabled);
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

/// The rules of a zone have changed since the last forecast, or the clock that it was made
/// by was wrong.
pub(super) fn foresee(swarm: &Swarm, profile: &Name, forecast: Forecast) -> Decision {
    match swarm.schedules.get(profile) {
        None => Err(Refusal::UnknownSchedule(profile.clone())),
        Some(schedule) if schedule.forecast == forecast => already(),
        Some(_) => Ok((vec![Event::ScheduleForeseen { profile: profile.clone(), forecast }], Reply::Done)),
    }
}

/// A due time has come. However often that is said, at most one run starts of it; and when
/// several were missed, the shell names the last, which stands for all of them.
pub(super) fn handle_due(
    swarm: &Swarm,
    now: TimeMs,
    profile: &Name,
    due: TimeMs,
    forecast: Forecast,
) -> Decision {
    let schedule = swarm.schedules.get(profile).ok_or_else(|| Refusal::UnknownSchedule(profile.clone()))?;
    // The shell goes by the wall clock, which may differ from the engine's, so `due` is not
    // compared with `now`.
    if forecast.next <= due {
        return Err(Refusal::Invalid(format!("what comes after a due time of {profile} lies before it")));
    }
    if !schedule.enabled || due <= schedule.handled {
        return already();
    }
    let (mut events, outcome) = match admin::start_run(swarm, profile, RunClass::Nightly) {
        Ok((events, Reply::Run(run))) => (events, DueOutcome::Started(run)),
        Ok(_) => (Vec::new(), DueOutcome::Skipped("no run was started".into())),
        Err(Refusal::RunUnderWay { run, .. }) => {
            let age = swarm.runs.get(&run).map_or(0, |r| now.since(r.started_at));
            let reason = format!("run {run}, which began {} before, is still going", span(age));
            (Vec::new(), DueOutcome::Skipped(reason))
        }
        Err(refusal) => (Vec::new(), DueOutcome::Skipped(refusal.to_string())),
    };
    events.push(Event::DueHandled { profile: profile.clone(), due, outcome, forecast });
    Ok((events, Reply::Done))
}

pub(super) fn pause(swarm: &Swarm, now: TimeMs, for_ms: u64, reason: &str) -> Decision {
    let longest = swarm.policy.pause_max_ms;
    if for_ms == 0 || for_ms > longest {
        return Err(Refusal::Invalid(format!(
            "a pause of {} is not possible: it lasts from 1 s to {}, and can be set anew while it lasts",
            span(for_ms),
            span(longest)
        )));
    }
    Ok((vec![Event::PauseBegun { until: now + for_ms, reason: reason.to_owned() }], Reply::Done))
}

pub(super) fn unpause(swarm: &Swarm) -> Decision {
    match swarm.pause {
        None => already(),
        Some(_) => Ok((vec![Event::PauseEnded { reason: "an admin ended it".into() }], Reply::Done)),
    }
}

/// The end of a pause, when its time is over.
pub(super) fn end_of_pause(swarm: &Swarm, now: TimeMs) -> Option<Event> {
    let over = swarm.pause.as_ref().is_some_and(|pause| pause.until <= now);
    over.then(|| Event::PauseEnded { reason: "its time was over".into() })
}
