//! When runs start by themselves, and when nothing is handed out: schedules and the pause.
//!
//! The rules of time zones are not known here. The shell foresees due times ([`Forecast`])
//! and says when one has come; what a due time means is decided here.

use crate::swarm::Swarm;
use serde::{Deserialize, Serialize};
use swarm_common::{id::RunId, time::TimeMs};

/// When runs of a profile are due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Minute, hour, day of month, month, day of week.
    pub cron: String,
    /// The time zone of that, by its IANA name.
    pub zone: String,
    /// Whether due times start runs.
    pub enabled: bool,
    /// When it was set.
    pub set_at: TimeMs,
    /// A due time up to here starts nothing any more.
    pub handled: TimeMs,
    /// What comes next.
    pub forecast: Forecast,
    /// What became of the last due time.
    pub last: Option<Due>,
    /// When a run of the profile last succeeded since the schedule was made.
    pub succeeded_at: Option<TimeMs>,
}

/// The due times to come, as the shell works them out from text and zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// The next one.
    pub next: TimeMs,
    /// The longest time from one of the coming ones to the one after it, in milliseconds.
    pub period_ms: u64,
}

/// A due time that has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// When a run was due.
    pub due: TimeMs,
    /// When that was acted upon; later than `due` after a standstill.
    pub at: TimeMs,
    /// What became of it.
    pub outcome: DueOutcome,
}

/// What became of a due time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DueOutcome {
    /// This run was started.
    Started(RunId),
    /// None was, and why not.
    Skipped(String),
}

/// Until it is over no work is handed out. Every pause ends by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// It began.
    pub since: TimeMs,
    /// It ends.
    pub until: TimeMs,
    /// What for; may be empty.
    pub reason: String,
}

/// The pause, unless its time is over.
#[must_use]
pub fn pause(swarm: &Swarm, now: TimeMs) -> Option<&Pause> {
    swarm.pause.as_ref().filter(|pause| pause.until > now)
}

/// The line that says that nothing is handed out, and until when.
#[must_use]
pub fn paused(swarm: &Swarm, now: TimeMs) -> Option<String> {
    let pause = pause(swarm, now)?;
    let reason = if pause.reason.is_empty() { String::new() } else { format!(": {}", pause.reason) };
    Some(format!("the swarm is paused for another {}{reason}", span(pause.until.since(now))))
}

/// A span of time in its two largest units, rounded up to whole seconds: `2 h 10 min`.
#[must_use]
pub fn span(ms: u64) -> String {
    let s = ms.div_ceil(1000);
    let pair = |big: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big} {unit}"),
        _ => format!("{big} {unit} {small} {small_unit}"),
    };
    match s {
        0..60 => format!("{s} s"),
        60..3600 => pair(s / 60, "min", s % 60, "s"),
        3600..86_400 => pair(s / 3600, "h", s % 3600 / 60, "min"),
        _ => pair(s / 86_400, "d", s % 86_400 / 3600, "h"),
    }
}
