//! Schedules, timers and pauses.

use serde::{Deserialize, Serialize};
use swarm_common::{id::RunId, name::Name, time::TimeMs};

/// When runs of a profile are due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Cron text: minute, hour, day of month, month, day of week.
    pub cron: String,
    /// IANA name of the time zone.
    pub zone: String,
    /// Whether due times start runs.
    pub enabled: bool,
    /// When it was set.
    pub set_at: TimeMs,
    /// Due times up to this one have been handled.
    pub handled: TimeMs,
    /// The next due times.
    pub forecast: Forecast,
    /// The outcome of the last due time.
    pub last: Option<Due>,
    /// When a run of the profile last succeeded since the schedule was created.
    pub succeeded_at: Option<TimeMs>,
}

/// The next due times, computed by the shell from cron text and time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// The next due time.
    pub next: TimeMs,
    /// The longest interval between consecutive due times, in milliseconds.
    pub period_ms: u64,
}

/// A due time that has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// When a run was due.
    pub due: TimeMs,
    /// When it was handled; later than `due` after an outage.
    pub at: TimeMs,
    /// The outcome.
    pub outcome: DueOutcome,
}

/// The outcome of a due time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DueOutcome {
    /// This run was started.
    Started(RunId),
    /// No run was started, for this reason.
    Skipped(String),
}

/// The timer of another machine that updates a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// How often it runs, in milliseconds.
    pub every_ms: u64,
    /// The machine that it runs on.
    pub machine: Name,
    /// When it last ran.
    pub ran_at: TimeMs,
}

/// A period without assignments. Every pause ends automatically.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// When it began.
    pub since: TimeMs,
    /// When it ends.
    pub until: TimeMs,
    /// The reason; may be empty.
    pub reason: String,
}
