//! The dead-man's switch: alarms for things that should happen and do not. A swarm that is stuck looks like
//! one that has nothing to do, so each case is checked explicitly.

use crate::{
    assign, calendar,
    standstill::moved_at,
    state::{Drone, DueOutcome, Job, Profile, Run, Schedule, Swarm},
    text,
};
use swarm_common::{
    id::*,
    name::Name,
    state::*,
    time::TimeMs,
    wire::concern::{ConcernKind, LastRun},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmKind {
    /// A run was due, but the due time was not handled. The subject is the profile.
    Overdue,
    /// A due run was not started because the previous one is still active. The subject is the
    /// profile.
    Skipped,
    /// No run of a profile has succeeded for longer than two of its periods. The subject is the
    /// profile.
    Stale,
    /// The timer that updates a profile has not run for longer than two of its periods. The subject is the
    /// profile.
    Silent,
    /// Work is needed while a drone that could do it is idle. The subject is the run.
    Idle,
    /// Work is paused. The subject is empty.
    Paused,
}

impl AlarmKind {
    /// The alarm that a concern corresponds to, if any.
    #[must_use]
    pub fn of(fact: &ConcernKind) -> Option<Self> {
        match fact {
            ConcernKind::RunOverdue { .. } => Some(Self::Overdue),
            ConcernKind::RunSkipped { .. } => Some(Self::Skipped),
            ConcernKind::NoSuccess { .. } => Some(Self::Stale),
            ConcernKind::TimerSilent { .. } => Some(Self::Silent),
            ConcernKind::DroneIdle { .. } => Some(Self::Idle),
            ConcernKind::Paused { .. } => Some(Self::Paused),
            _ => None,
        }
    }

    /// The name of the alarm in metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Overdue => "overdue",
            Self::Skipped => "skipped",
            Self::Stale => "stale",
            Self::Silent => "silent",
            Self::Idle => "idle",
            Self::Paused => "paused",
        }
    }
}

/// Every alarm, worst first. `wall` is the machine's clock, which due times refer to.
#[must_use]
pub fn alarms(swarm: &Swarm, now: TimeMs, wall: TimeMs) -> Vec<ConcernKind> {
    let schedules = || swarm.schedules.iter().filter(|(_, s)| s.enabled);
    let mut alarms: Vec<ConcernKind> = Vec::new();
    alarms.extend(schedules().filter_map(|(profile, s)| overdue(swarm, now, wall, profile, s)));
    alarms.extend(swarm.runs.iter().filter_map(|(&id, run)| idle(swarm, now, id, run)));
    alarms.extend(schedules().filter_map(|(profile, s)| stale(swarm, now, wall, profile, s)));
    alarms.extend(schedules().filter_map(|(profile, s)| skipped(wall, profile, s)));
    alarms.extend(swarm.profiles.iter().filter_map(|(name, profile)| silent(now, name, profile)));
    alarms.extend(calendar::pause(swarm, now).map(|pause| ConcernKind::Paused {
        for_ms: pause.until.since(now),
        why: text::optional_reason(pause.reason.as_ref()),
    }));
    alarms
}

fn overdue(
    swarm: &Swarm,
    now: TimeMs,
    wall: TimeMs,
    profile: &Name,
    schedule: &Schedule,
) -> Option<ConcernKind> {
    let late_ms = wall.since(schedule.forecast.next);
    // The first check comes within seconds of a start and catches up on missed due times.
    let began = now.since(swarm.live.started_at) > swarm.policy.due_grace_ms;
    (began && late_ms > swarm.policy.due_grace_ms)
        .then(|| ConcernKind::RunOverdue { profile: profile.clone(), late_ms })
}

fn skipped(wall: TimeMs, profile: &Name, schedule: &Schedule) -> Option<ConcernKind> {
    let last = schedule.last.as_ref()?;
    let DueOutcome::Skipped(reason) = &last.outcome else { return None };
    Some(ConcernKind::RunSkipped {
        profile: profile.clone(),
        ago_ms: wall.since(last.due),
        next_in_ms: schedule.forecast.next.since(wall),
        why: text::reason(reason),
    })
}

fn stale(
    swarm: &Swarm,
    now: TimeMs,
    wall: TimeMs,
    profile: &Name,
    schedule: &Schedule,
) -> Option<ConcernKind> {
    let since = schedule.set_at.max(schedule.succeeded_at.unwrap_or_default());
    let period_ms = schedule.forecast.period_ms;
    if now.since(since) <= period_ms.saturating_mul(2) {
        return None;
    }
    let last = swarm.runs.iter().rfind(|(_, run)| run.profile == *profile);
    Some(ConcernKind::NoSuccess {
        profile: profile.clone(),
        for_ms: now.since(since),
        period_ms,
        next_in_ms: schedule.forecast.next.since(wall),
        last: last.map(|(&run, record)| LastRun {
            run,
            state: record.state,
            why: text::optional_reason(record.reason.as_ref()),
        }),
    })
}

fn silent(now: TimeMs, name: &Name, profile: &Profile) -> Option<ConcernKind> {
    let timer = profile.timer.as_ref()?;
    let for_ms = now.since(timer.ran_at);
    (for_ms > timer.every_ms.saturating_mul(2)).then(|| ConcernKind::TimerSilent {
        profile: name.clone(),
        machine: timer.machine.clone(),
        for_ms,
        every_ms: timer.every_ms,
    })
}

/// The alarm that work is needed, a drone that could do it is idle, and no attempt has started or ended for a
/// long time. A drone may rightly wait for a faster one, so while something is being built only a drone that
/// has stopped claiming counts.
fn idle(swarm: &Swarm, now: TimeMs, id: RunId, run: &Run) -> Option<ConcernKind> {
    let long_ms = swarm.policy.idle_alarm_ms;
    if run.state.is_over() || calendar::pause(swarm, now).is_some() {
        return None;
    }
    let waits = |p: &&PackageId| swarm.packages.get(p).is_some_and(|p| p.not_before + long_ms <= now);
    let (needed, at_work) = match run.state {
        RunState::Planning => {
            let waits = run.plan_not_before + long_ms <= now;
            (usize::from(waits), swarm.attempts_at(Job::Plan(id)).count())
        }
        _ => {
            let delegated = run.count(PackageState::Delegated);
            (run.ready.iter().map(|(_, p)| p).filter(waits).count(), delegated as usize)
        }
    };
    if needed == 0 || now.since(moved_at(swarm, run)) <= long_ms {
        return None;
    }
    let ready = |drone: DroneId| swarm.live.ready_since.get(&drone).copied().unwrap_or(swarm.live.started_at);
    let asked = |drone: DroneId| swarm.live.waiting.get(&drone).copied().unwrap_or_default();
    let has_work = |drone: &Drone| {
        let mut needed = run.ready.iter().filter_map(|(_, id)| swarm.packages.get(id));
        run.state == RunState::Planning || needed.any(|package| drone.is_for(package))
    };
    let mut able = swarm.drones.iter().filter(|&(&d, drone)| {
        swarm.state_of(d, drone) == DroneState::Online
            && drone.builds_for(run)
            && has_work(drone)
            && swarm.attempts_of(d).next().is_none()
            && now.since(ready(d)) > long_ms
    });
    let (drone_id, drone) =
        able.find(|&(&d, _)| at_work == 0 || now.since(asked(d).max(ready(d))) > long_ms)?;
    Some(ConcernKind::DroneIdle {
        run: id,
        profile: run.profile.clone(),
        drone: drone.name.clone(),
        packages: if run.state == RunState::Planning { 0 } else { needed as u64 },
        for_ms: now.since(moved_at(swarm, run)),
        asks: asked(*drone_id) > now,
        why: assign::would_be_told(swarm, now, *drone_id, drone),
    })
}
