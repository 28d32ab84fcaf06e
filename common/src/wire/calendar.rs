//! Schedules and the pause.

use crate::{id::RunId, name::Name, state::RunState, time::TimeMs};
use serde::{Deserialize, Serialize};

/// `PUT /schedules/{name}`: when runs of a profile start by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ScheduleRequest {
    /// Minute, hour, day of month, month and day of week, as in crontab(5): `30 3 * * *`.
    pub cron: String,
    /// The time zone of that, by its IANA name: `Europe/Berlin`.
    pub zone: String,
    /// False keeps it without starting anything.
    #[serde(default = "on")]
    pub enabled: bool,
}

fn on() -> bool {
    true
}

/// `POST /pause`: hand out no work for a while. Builds under way go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    /// It ends by itself after this long.
    pub for_ms: u64,
    /// What for.
    #[serde(default)]
    pub reason: String,
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScheduleView {
    /// Of which profile.
    pub profile: Name,
    /// Minute, hour, day of month, month and day of week.
    pub cron: String,
    /// The time zone of that.
    pub zone: String,
    /// Whether it starts runs.
    pub enabled: bool,
    /// The next due times; none while it is off.
    pub upcoming: Vec<TimeMs>,
    /// What became of the last due time.
    pub last: Option<DueView>,
    /// When a run of the profile last succeeded since the schedule was made.
    pub succeeded_at: Option<TimeMs>,
}

/// A due time that has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DueView {
    /// When a run was due.
    pub due: TimeMs,
    /// When that was acted upon; later than `due` after a standstill.
    pub at: TimeMs,
    /// The run that was started.
    pub run: Option<RunId>,
    /// Where that run stands, while it is kept.
    pub state: Option<RunState>,
    /// Why none was started, if none was.
    pub skipped: Option<String>,
}

/// A pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PauseView {
    /// It began.
    pub since: TimeMs,
    /// It ends by itself.
    pub until: TimeMs,
    /// What for; may be empty.
    pub reason: String,
}
