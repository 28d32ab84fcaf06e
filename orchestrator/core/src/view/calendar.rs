//! API views of schedules and the pause.

use crate::{
    calendar,
    state::{Due, DueOutcome, Schedule, Swarm},
    text,
};
use swarm_common::{
    time::TimeMs,
    wire::{
        calendar::{DueView, PauseView, ScheduleView},
        view::UpcomingRun,
    },
};

/// Every schedule, by profile. Only the next due time is included, because the core cannot compute more.
#[must_use]
pub fn schedules(swarm: &Swarm) -> Vec<ScheduleView> {
    let view = |(profile, s): (&swarm_common::name::Name, &Schedule)| ScheduleView {
        profile: profile.clone(),
        cron: s.cron.clone(),
        zone: s.zone.clone(),
        enabled: s.enabled,
        upcoming: if s.enabled { vec![s.forecast.next] } else { Vec::new() },
        last: s.last.as_ref().map(|last| due(swarm, last)),
        succeeded_at: s.succeeded_at,
    };
    swarm.schedules.iter().map(view).collect()
}

/// The next run of each enabled schedule, earliest first.
pub(super) fn upcoming(swarm: &Swarm) -> Vec<UpcomingRun> {
    let enabled = swarm.schedules.iter().filter(|(_, schedule)| schedule.enabled);
    let next = enabled.map(|(profile, s)| UpcomingRun { profile: profile.clone(), due: s.forecast.next });
    let mut all: Vec<UpcomingRun> = next.collect();
    all.sort_by_key(|run| run.due);
    all
}

fn due(swarm: &Swarm, last: &Due) -> DueView {
    let (run, skipped) = match &last.outcome {
        DueOutcome::Started(run) => (Some(*run), None),
        DueOutcome::Skipped(reason) => (None, Some(text::reason(reason))),
    };
    let state = run.and_then(|run| swarm.runs.get(&run)).map(|run| run.state);
    DueView { due: last.due, at: last.at, run, state, skipped }
}

#[must_use]
pub fn pause(swarm: &Swarm, now: TimeMs) -> Option<PauseView> {
    let pause = calendar::pause(swarm, now)?;
    Some(PauseView {
        since: pause.since,
        until: pause.until,
        reason: text::optional_reason(pause.reason.as_ref()),
    })
}
