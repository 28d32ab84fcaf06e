//! Attempts: assignments of work to drones.

use crate::{legacy, reason::Reason, record};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use swarm_common::{
    id::*,
    name::Name,
    state::*,
    time::TimeMs,
    wire::drone::{Failure, Rejection, Usage},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    Plan(RunId),
    Build(PackageId),
    /// Make the base's next generation from what a run built.
    Base(RunId),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    Accepted,
    /// The drone reported a failure.
    #[serde(with = "crate::record")]
    Failed(Failure),
    /// The intake refused what the drone delivered.
    #[serde(serialize_with = "record::serialize", deserialize_with = "legacy::saved_rejection")]
    Rejected(Rejection),
    /// The drone returned the work, for this reason.
    HandedBack(Reason),
    /// The lease was not renewed, for this reason. The result still counts if no other attempt delivers
    /// first.
    Lost(Reason),
    /// Another attempt delivered first.
    Superseded,
    Cancelled,
}

impl Ending {
    /// Whether the ending counts as a failed try. Returned and cancelled work does not.
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

    /// The error as a line for people, if there was one.
    #[must_use]
    pub fn headline(&self) -> Option<String> {
        match self {
            Self::Failed(failure) => Some(failure.headline()),
            _ => self.signature().map(str::to_owned),
        }
    }
}

/// One assignment of work to one drone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    pub job: Job,
    pub drone: DroneId,
    /// The drone's name at the time of the assignment, since the drone may be removed.
    pub drone_name: Name,
    /// Idempotency key of the claim that was answered with this attempt.
    pub key: String,
    /// The late attempt that this one deliberately duplicates.
    pub duplicate_of: Option<AttemptId>,
    /// The build id of each target of the package.
    pub build_ids: Vec<u32>,
    pub started_at: TimeMs,
    pub ended_at: Option<TimeMs>,
    pub phases: BTreeMap<Phase, TimeMs>,
    /// `None` while the attempt is live.
    pub ending: Option<Ending>,
    /// Time and memory that the attempt used. `None` until the drone has reported it.
    #[serde(default, with = "crate::record")]
    pub usage: Option<Usage>,
    /// Whether the attempt was begun before the journal was restored, and taken back afterwards.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub returned: bool,
    /// Time lost to other builds on the same drone in milliseconds, up to the last change of their number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost_ms: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(ms: &u64) -> bool {
    *ms == 0
}

/// The highest build id that is sent to a drone. Portage takes the first free file name, so the drone has to
/// occupy one for each lower id.
const MOST_SENT: u32 = 1000;

/// The build ids that are sent to a drone: ids above [`MOST_SENT`] are replaced by 1.
pub(crate) fn sent_build_ids(build_ids: &[u32]) -> Vec<u32> {
    build_ids.iter().map(|&id| if id > MOST_SENT { 1 } else { id }).collect()
}

impl Attempt {
    /// Whether the delivered packages may have other build ids than assigned, so that they are renumbered on
    /// arrival.
    #[must_use]
    pub fn is_renumbered(&self) -> bool {
        self.returned || sent_build_ids(&self.build_ids) != self.build_ids
    }

    #[must_use]
    pub fn is_live(&self) -> bool {
        self.ending.is_none()
    }

    /// Whether the attempt occupies a slot of its drone. Uploads do not.
    #[must_use]
    pub fn is_building(&self) -> bool {
        self.is_live() && self.phase() < Phase::Uploading
    }

    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.ending.as_ref().is_some_and(Ending::is_failure)
    }

    /// Whether the attempt counts against the package: it failed by the package's own fault, according to its
    /// drone, or its result was rejected.
    #[must_use]
    pub fn blames_package(&self) -> bool {
        match &self.ending {
            Some(Ending::Failed(failure)) => blames_package(failure),
            Some(Ending::Rejected(_)) => true,
            _ => false,
        }
    }

    /// The latest phase that the attempt has reached.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phases.keys().next_back().copied().unwrap_or(Phase::Assigned)
    }
}

/// Whether a failure is the package's own fault: by its class, or because a source file differs from the
/// Manifest, which is never held against the drone that reports it.
#[must_use]
pub fn blames_package(failure: &Failure) -> bool {
    matches!(failure.class, FailureClass::Package | FailureClass::Timeout)
        || failure.cause == Some(FailureCause::SourceMismatch)
}
