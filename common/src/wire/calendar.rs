//! Schedules, timers of other machines, and the pause.

use crate::{id::RunId, name::Name, state::RunState, time::TimeMs};
use serde::{Deserialize, Serialize};

/// `PUT /schedules/{name}`: sets when runs of a profile start automatically.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScheduleRequest {
    /// Minute, hour, day of month, month and day of week, as in crontab(5): `30 3 * * *`.
    pub cron: String,
    /// The time zone of `cron`, by its IANA name: `Europe/Berlin`.
    pub zone: String,
    /// If false, the schedule is stored but starts no runs.
    #[serde(default = "on")]
    pub enabled: bool,
}

fn on() -> bool {
    true
}

/// `PUT /profiles/{name}/timer`: a profile's update timer has run, whether or not there was anything new.
/// `GET /status` warns after two missed intervals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TimerRequest {
    /// How often it runs, in milliseconds: from 1 minute to 366 days.
    pub every_ms: u64,
    /// The host name of the machine that it runs on.
    pub machine: Name,
}

/// The timer that updates a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TimerView {
    /// How often it runs, in milliseconds.
    pub every_ms: u64,
    /// The machine that it runs on.
    pub machine: Name,
    /// When it last ran.
    pub ran_at: TimeMs,
}

/// `POST /pause`: assigns no work for some time. Running builds continue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PauseRequest {
    /// Duration in milliseconds, after which the pause ends automatically.
    pub for_ms: u64,
    /// The reason.
    #[serde(default)]
    pub reason: String,
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScheduleView {
    /// Its profile.
    pub profile: Name,
    /// Minute, hour, day of month, month and day of week.
    pub cron: String,
    /// Its time zone.
    pub zone: String,
    /// Whether it starts runs.
    pub enabled: bool,
    /// The next due times; none while it is off.
    pub upcoming: Vec<TimeMs>,
    /// Outcome of the last due time.
    pub last: Option<DueView>,
    /// When a run of the profile last succeeded since the schedule was created.
    pub succeeded_at: Option<TimeMs>,
}

/// A past due time of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DueView {
    /// When a run was due.
    pub due: TimeMs,
    /// When it was handled; later than `due` if the orchestrator was off.
    pub at: TimeMs,
    /// The run that was started.
    pub run: Option<RunId>,
    /// State of that run, while it is kept.
    pub state: Option<RunState>,
    /// Why no run was started, if none was.
    pub skipped: Option<String>,
}

/// A pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PauseView {
    /// When it began.
    pub since: TimeMs,
    /// When it ends automatically.
    pub until: TimeMs,
    /// The reason; may be empty.
    pub reason: String,
}
