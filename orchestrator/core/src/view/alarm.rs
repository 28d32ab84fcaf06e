//! The dead-man's check: what ought to happen and does not. A swarm that is quietly idle
//! looks like one that has nothing to do, so each of these is looked for.
//!
//! An alarm is known by its kind and subject, which stay the same while it lasts; its words
//! change with the time.

use crate::{
    attempt::Job,
    calendar::{self, DueOutcome, Schedule, span},
    run::Run,
    schedule,
    swarm::Swarm,
};
use swarm_common::{id::*, name::Name, state::*, time::TimeMs};

/// What kind of thing does not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmKind {
    /// A run was due and nobody has acted upon it. The subject is the profile.
    Overdue,
    /// A due run was not started, as the one before goes on. The subject is the profile.
    Skipped,
    /// No run of a profile has succeeded for longer than two of its periods.
    Stale,
    /// Work is needed while a drone that could do it idles. The subject is the run.
    Idle,
    /// Nothing is handed out, for a while. The subject is empty.
    Paused,
}

impl AlarmKind {
    /// The word for it in metrics and notifications.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Overdue => "overdue",
            Self::Skipped => "skipped",
            Self::Stale => "stale",
            Self::Idle => "idle",
            Self::Paused => "paused",
        }
    }
}

/// Something that ought to happen and does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// What kind of thing.
    pub kind: AlarmKind,
    /// Which profile or run.
    pub subject: String,
    /// Why it is one, in one line.
    pub what: String,
    /// What will happen by itself, or what to do.
    pub next: String,
    /// The command that mends it, if one does.
    pub command: Option<String>,
}

/// Every alarm, worst first. `wall` is what the machine's clock shows, by which due times come.
#[must_use]
pub fn alarms(swarm: &Swarm, now: TimeMs, wall: TimeMs) -> Vec<Alarm> {
    let schedules = || swarm.schedules.iter().filter(|(_, s)| s.enabled);
    let mut alarms: Vec<Alarm> = Vec::new();
    alarms.extend(schedules().filter_map(|(profile, s)| overdue(swarm, now, wall, profile, s)));
    alarms.extend(swarm.runs.iter().filter_map(|(&id, run)| idle(swarm, now, id, run)));
    alarms.extend(schedules().filter_map(|(profile, s)| stale(swarm, now, wall, profile, s)));
    alarms.extend(schedules().filter_map(|(profile, s)| skipped(wall, profile, s)));
    alarms.extend(calendar::paused(swarm, now).map(|what| Alarm {
        kind: AlarmKind::Paused,
        subject: String::new(),
        what,
        next: "builds under way go on, and the pause ends by itself; `swarmctl unpause` ends it now".into(),
        command: None,
    }));
    alarms
}

fn overdue(swarm: &Swarm, now: TimeMs, wall: TimeMs, profile: &Name, schedule: &Schedule) -> Option<Alarm> {
    let late_ms = wall.since(schedule.forecast.next);
    // After a start the first look comes within seconds, and makes up for what was missed.
    let began = now.since(swarm.live.started_at) > swarm.policy.due_grace_ms;
    (began && late_ms > swarm.policy.due_grace_ms).then(|| Alarm {
        kind: AlarmKind::Overdue,
        subject: profile.to_string(),
        what: format!("a run of {profile} was due {} ago and was not started", span(late_ms)),
        next: "the schedule pass has stopped: restart `swarm-orchestrator`, which makes up for the run"
            .into(),
        command: None,
    })
}

fn skipped(wall: TimeMs, profile: &Name, schedule: &Schedule) -> Option<Alarm> {
    let last = schedule.last.as_ref()?;
    let DueOutcome::Skipped(reason) = &last.outcome else { return None };
    let next = span(schedule.forecast.next.since(wall));
    Some(Alarm {
        kind: AlarmKind::Skipped,
        subject: profile.to_string(),
        what: format!("no run of {profile} was started {} ago: {reason}", span(wall.since(last.due))),
        next: format!("the next is due in {next}; `swarmctl run cancel` makes room for it"),
        command: None,
    })
}

fn stale(swarm: &Swarm, now: TimeMs, wall: TimeMs, profile: &Name, schedule: &Schedule) -> Option<Alarm> {
    let since = schedule.set_at.max(schedule.succeeded_at.unwrap_or_default());
    let period_ms = schedule.forecast.period_ms;
    if now.since(since) <= period_ms.saturating_mul(2) {
        return None;
    }
    let last = swarm.runs.iter().rfind(|(_, run)| run.profile == *profile);
    let (told, command) = match last {
        None => (String::new(), format!("swarmctl run start {profile}")),
        Some((id, run)) if run.reason.is_empty() => {
            (format!("; the last, {id}, is {}", run.state), format!("swarmctl run show {id}"))
        }
        Some((id, run)) => {
            (format!("; the last, {id}, is {}: {}", run.state, run.reason), format!("swarmctl run show {id}"))
        }
    };
    Some(Alarm {
        kind: AlarmKind::Stale,
        subject: profile.to_string(),
        what: format!(
            "no run of {profile} has succeeded for {}, though one is due every {}{told}",
            span(now.since(since)),
            span(period_ms)
        ),
        next: format!("`{command}`; the next run is due in {}", span(schedule.forecast.next.since(wall))),
        command: Some(command),
    })
}

/// Work is needed, a drone that could do it has none, and nothing was handed out or came in
/// for long. A drone may well wait for another that will be sooner, so while something is
/// built only a drone that has stopped asking counts.
fn idle(swarm: &Swarm, now: TimeMs, id: RunId, run: &Run) -> Option<Alarm> {
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
    if needed == 0 || now.since(run.moved_at(swarm)) <= long_ms {
        return None;
    }
    let ready = |drone: DroneId| swarm.live.ready_since.get(&drone).copied().unwrap_or(swarm.live.started_at);
    let asked = |drone: DroneId| swarm.live.waiting.get(&drone).copied().unwrap_or_default();
    let mut able = swarm.drones.iter().filter(|&(&d, drone)| {
        swarm.state_of(d, drone) == DroneState::Online
            && drone.builds_for(run)
            && swarm.attempts_of(d).next().is_none()
            && now.since(ready(d)) > long_ms
    });
    let (drone_id, drone) =
        able.find(|&(&d, _)| at_work == 0 || now.since(asked(d).max(ready(d))) > long_ms)?;
    let work = match run.state {
        RunState::Planning => "its plan".to_owned(),
        _ => format!("{needed} of its packages"),
    };
    let asks = asked(*drone_id) > now;
    let why = match schedule::would_be_told(swarm, now, *drone_id, drone) {
        Some(reason) if asks => format!("it is told: {reason}"),
        _ if asks => "though it asks for work".to_owned(),
        _ => "it does not ask for work".to_owned(),
    };
    let name = &drone.name;
    Some(Alarm {
        kind: AlarmKind::Idle,
        subject: id.to_string(),
        what: format!(
            "run {id} of {} waits with {work} for {}, while {name} idles: {why}",
            run.profile,
            span(now.since(run.moved_at(swarm)))
        ),
        next: match asks {
            true => "`swarmctl queue` names the packages, `swarmctl why` what they wait for".into(),
            false => format!("restart `swarm-drone` on {name}; it is given work as soon as it asks"),
        },
        command: None,
    })
}
