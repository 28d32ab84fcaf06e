//! Applies the events of schedules, timers and pauses, and the effects of other events on them.

use crate::{
    event::Event,
    state::{Due, Pause, Schedule, Swarm, Timer},
};
use swarm_common::{state::RunState, time::TimeMs};

impl Swarm {
    /// Applies an event to the calendar, and updates since when drones have been able to work.
    pub(super) fn keep_calendar(&mut self, at: TimeMs, event: &Event) {
        match event {
            Event::SchedulePut { profile, request, forecast } => {
                let before = self.schedules.remove(profile);
                let schedule = Schedule {
                    cron: request.cron.clone(),
                    zone: request.zone.clone(),
                    enabled: request.enabled,
                    set_at: at,
                    // Due times before this, of another cron text or while the schedule was disabled, are not
                    // caught up on.
                    handled: forecast.next - 1,
                    forecast: *forecast,
                    last: before.as_ref().and_then(|s| s.last.clone()),
                    succeeded_at: before.and_then(|s| s.succeeded_at),
                };
                self.schedules.insert(profile.clone(), schedule);
            }
            Event::ScheduleRemoved { profile } | Event::ProfileRemoved { name: profile } => {
                self.schedules.remove(profile);
            }
            Event::ScheduleForeseen { profile, forecast } => {
                if let Some(schedule) = self.schedules.get_mut(profile) {
                    schedule.forecast = *forecast;
                    schedule.handled = schedule.handled.min(forecast.next - 1);
                }
            }
            Event::DueHandled { profile, due, outcome, forecast } => {
                if let Some(schedule) = self.schedules.get_mut(profile) {
                    (schedule.handled, schedule.forecast) = (*due, *forecast);
                    schedule.last = Some(Due { due: *due, at, outcome: outcome.clone() });
                }
            }
            Event::RunEnded { run, state: RunState::Succeeded, .. } => {
                let profile = self.runs.get(run).map(|r| &r.profile);
                if let Some(schedule) = profile.and_then(|p| self.schedules.get_mut(p)) {
                    schedule.succeeded_at = Some(at);
                }
            }
            Event::TimerRan { profile, timer } => self.profile(profile, |p| {
                p.timer =
                    Some(Timer { every_ms: timer.every_ms, machine: timer.machine.clone(), ran_at: at });
            }),
            Event::TimerRemoved { profile } => self.profile(profile, |p| p.timer = None),
            Event::PauseBegun { until, reason } => {
                let since = self.pause.as_ref().map_or(at, |pause| pause.since);
                self.pause = Some(Pause { since, until: *until, reason: reason.clone() });
            }
            Event::PauseEnded { .. } => {
                self.pause = None;
                let all = self.drones.keys().map(|&drone| (drone, at));
                self.live.ready_since = all.collect();
            }
            Event::DroneEnrolled { drone, .. }
            | Event::DroneApproved { drone }
            | Event::DroneReturned { drone }
            | Event::DroneResumed { drone }
            | Event::DroneUngrounded { drone } => {
                self.live.ready_since.insert(*drone, at);
            }
            Event::DroneRemoved { drone } => {
                self.live.ready_since.remove(drone);
            }
            _ => {}
        }
    }
}
