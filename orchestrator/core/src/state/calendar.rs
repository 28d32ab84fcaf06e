//! Schedules, timers and pauses.

use crate::reason::{self, Reason};
use serde::{Deserialize, Serialize};
use swarm_common::{id::RunId, name::Name, time::TimeMs};

/// When runs of a profile are due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Cron expression: minute, hour, day of month, month, day of week.
    pub cron: String,
    /// IANA name of the time zone.
    pub zone: String,
    /// Whether due times start runs.
    pub enabled: bool,
    pub set_at: TimeMs,
    /// Due times up to this one have been handled.
    pub handled: TimeMs,
    pub forecast: Forecast,
    pub last: Option<Due>,
    /// When a run of the profile last succeeded since the schedule was created.
    pub succeeded_at: Option<TimeMs>,
}

/// The next due times, computed by the shell from cron text and time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    pub next: TimeMs,
    /// The longest interval between consecutive due times, in milliseconds.
    pub period_ms: u64,
}

/// A due time that has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    pub due: TimeMs,
    /// When the due time was handled; later than `due` after an outage.
    pub at: TimeMs,
    pub outcome: DueOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DueOutcome {
    /// This run was started.
    Started(RunId),
    /// No run was started, for this reason.
    Skipped(Reason),
}

/// The timer of another machine that updates a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// The timer's interval, in milliseconds.
    pub every_ms: u64,
    /// The machine that the timer runs on.
    pub machine: Name,
    pub ran_at: TimeMs,
}

/// A period without assignments. Every pause ends automatically.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    pub since: TimeMs,
    pub until: TimeMs,
    /// `None` if the admin gave none.
    #[serde(with = "reason::optional")]
    pub reason: Option<Reason>,
}
