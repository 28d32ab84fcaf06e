//! Attempts: one assignment of work to one drone.

use crate::{legacy, record};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use swarm_common::{
    id::*,
    name::Name,
    state::*,
    time::TimeMs,
    wire::drone::{Failure, Rejection, Usage},
};

/// The work of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// Make the plan of a run.
    Plan(RunId),
    /// Build a package.
    Build(PackageId),
    /// Make the base generation that follows a run.
    Base(RunId),
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Its result was accepted.
    Accepted,
    /// It failed.
    #[serde(with = "crate::record")]
    Failed(Failure),
    /// It delivered something that was refused.
    #[serde(serialize_with = "record::serialize", deserialize_with = "legacy::saved_rejection")]
    Rejected(Rejection),
    /// Its drone returned it.
    HandedBack(String),
    /// Its lease was not renewed. Its result still counts if no other attempt delivers first.
    Lost(String),
    /// Another attempt delivered first.
    Superseded,
    /// Its run was cancelled.
    Cancelled,
}

impl Ending {
    /// Whether it counts as a failed try. Returned and cancelled work does not.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Rejected(_) | Self::Lost(_))
    }

    /// What identifies the error, for comparison. `None` if there was none, or if an older version
    /// rejected the result and recorded no kind.
    #[must_use]
    pub fn signature(&self) -> Option<&str> {
        match self {
            Self::Failed(failure) => Some(&failure.signature),
            Self::Rejected(rejection) => Some(rejection.kind.as_str()).filter(|kind| !kind.is_empty()),
            _ => None,
        }
    }

    /// The ending in words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Accepted => "its result was accepted".into(),
            Self::Failed(failure) => format!("it failed ({})", failure.class),
            Self::Rejected(rejection) => format!("its result was rejected: {}", rejection.reason),
            Self::HandedBack(reason) => format!("it was handed back: {reason}"),
            Self::Lost(reason) => format!("it was lost: {reason}"),
            Self::Superseded => "another attempt delivered first".into(),
            Self::Cancelled => "its run was cancelled".into(),
        }
    }
}

/// One assignment of work to one drone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its work.
    pub job: Job,
    /// The drone that has it.
    pub drone: DroneId,
    /// That drone's name, kept because the drone may be removed.
    pub drone_name: Name,
    /// Idempotency key of the claim that got it.
    pub key: String,
    /// The late attempt that this one deliberately duplicates.
    pub duplicate_of: Option<AttemptId>,
    /// The build id of each target.
    pub build_ids: Vec<u32>,
    /// When it was assigned.
    pub started_at: TimeMs,
    /// When it ended.
    pub ended_at: Option<TimeMs>,
    /// When each phase began.
    pub phases: BTreeMap<Phase, TimeMs>,
    /// How it ended; `None` while it is live.
    pub ending: Option<Ending>,
    /// Time and memory that it used.
    #[serde(default, with = "crate::record")]
    pub usage: Option<Usage>,
    /// Whether it was begun before the journal was restored, and taken back afterwards.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub returned: bool,
    /// Time lost to other builds on its drone in milliseconds, up to the last change of their
    /// number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost_ms: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(ms: &u64) -> bool {
    *ms == 0
}

/// Highest build id that is sent to a drone. Portage takes the first free file name, so the drone has
/// to occupy one for each lower id.
const MOST_SENT: u32 = 1000;

/// The build ids that are sent to a drone: 1 in place of those too high for it.
pub(crate) fn sent_build_ids(build_ids: &[u32]) -> Vec<u32> {
    build_ids.iter().map(|&id| if id > MOST_SENT { 1 } else { id }).collect()
}

impl Attempt {
    /// Whether its packages may have other build ids than its own, and are renumbered when they
    /// arrive.
    #[must_use]
    pub fn is_renumbered(&self) -> bool {
        self.returned || sent_build_ids(&self.build_ids) != self.build_ids
    }

    /// Whether it has not ended.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.ending.is_none()
    }

    /// Whether it occupies a slot of its drone.
    #[must_use]
    pub fn is_building(&self) -> bool {
        self.is_live() && self.phase() < Phase::Uploading
    }

    /// Whether it ended as a failed try.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.ending.as_ref().is_some_and(Ending::is_failure)
    }

    /// Whether it failed by the package's own fault, as far as its drone says. A source file that differs
    /// from what the repository says is the package's, though no drone that finds it is to blame.
    #[must_use]
    pub fn blames_package(&self) -> bool {
        match &self.ending {
            Some(Ending::Failed(failure)) => blames_package(failure),
            Some(Ending::Rejected(_)) => true,
            _ => false,
        }
    }

    /// The latest phase that it reached.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phases.keys().next_back().copied().unwrap_or(Phase::Assigned)
    }
}

/// Whether a failure is the package's own.
#[must_use]
pub fn blames_package(failure: &Failure) -> bool {
    matches!(failure.class, FailureClass::Package | FailureClass::Timeout)
        || failure.cause == Some(FailureCause::SourceMismatch)
}
