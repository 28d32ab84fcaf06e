//! Why something happened, as facts. Rules produce them, the journal and the state keep them, and only
//! [`crate::text`] makes sentences of them, so that a sentence can be reworded without changing what is
//! journaled.
//!
//! Text in a reason was written by somebody else: an admin, a drone, a compiler, the system.
//!
//! A reason is recorded as an object whose field `cause` names the variant. What an older version recorded is
//! a sentence; it is read as [`Reason::Text`] and written as it was. Variants are only added. Like a new kind
//! of event, a variant that a version does not know is refused by name.

mod facts;

pub use facts::*;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};
use std::fmt;
use swarm_common::{id::RunId, name::Name, state::HealStep};

/// Why something happened. Large facts are boxed, since every package has room for a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "kebab-case", remote = "Self")]
pub enum Reason {
    /// The sentence of an older version.
    #[serde(skip)]
    Text(Box<str>),

    /// An admin wants it, for the reason that the admin gave.
    Admin { text: Box<str> },
    /// An admin drained the drone.
    DrainedByAdmin,
    /// An admin cancelled the run.
    CancelledByAdmin,
    /// An admin ended the pause.
    EndedByAdmin,
    /// An admin asked for another try.
    RetryRequested,

    /// The pause is over.
    Expired,
    /// The lease of the attempt was not renewed.
    LeaseExpired,
    /// The attempt took longer than any build may.
    TimeExceeded,

    /// The drone wants it, for the reason that the drone gave.
    Drone { text: Box<str> },
    /// The drone returned the work, for the reason that it gave.
    HandedBack { text: Box<str> },
    /// The drone shut down.
    SignedOff(Box<SignedOff>),
    /// The drone was silent for this long, in milliseconds.
    Silent { ms: u64 },
    /// The drone was removed.
    DroneRemoved,
    /// The drone was grounded.
    DroneGrounded { drone: Box<Name> },
    /// An attempt was lost.
    AttemptLost(Box<LostAttempt>),

    /// The drone reported a fault of its own.
    DroneFault { error: Box<str> },
    /// The intake refused what the drone delivered.
    Rejected(Box<Rejected>),
    /// Different packages fail on the drone.
    DifferentPackages(Box<DifferentPackages>),
    /// What failed on the drone was built by another one.
    BuiltElsewhere(Box<BuiltElsewhere>),
    /// The fault is in this package.
    PackageAtFault { package: Box<str> },
    /// The drone got this many strikes in a row.
    Strikes { count: u64, last: Box<Reason> },

    /// An attempt at a package failed.
    Failed(Box<FailedBuild>),
    /// Two attempts failed with the same error.
    SameError(Box<SameError>),
    /// The package failed with the error for which it was quarantined before.
    SameErrorAgain(Box<SameErrorAgain>),
    /// The package failed too often by its own fault.
    BuildFailures(Box<BuildFailures>),
    /// The attempts allowed are used up.
    TriesUsedUp(Box<TriesUsedUp>),
    /// The records that would tell more no longer exist.
    RecordsGone,
    /// One job takes more memory than any drone has.
    OutOfMemory(Box<OutOfMemory>),
    /// No drone could fetch the sources.
    SourcesMissing(Box<SourcesMissing>),
    /// No drone has what the package needs.
    MissingCapability(Box<MissingCapability>),
    /// The package was judged broken before, and nothing has changed.
    Unchanged(Box<Unchanged>),

    /// An attempt at the plan failed.
    PlanFailed(Box<PlanFailed>),
    /// Not everything of the run was built and published.
    Incomplete(Box<Shortfall>),
    /// No drone has the toolchain of the plan any more.
    ToolchainGone(Box<ToolchainGone>),

    /// An attempt at a base failed.
    BaseFailed(Box<BaseFailed>),
    /// A base was made and does not work.
    BaseUnusable(Box<BaseUnusable>),
    /// This many attempts at a base ended without one.
    BaseGivenUp { attempts: u64, last: Box<Reason> },

    /// No candidate could be made, for this reason of whoever made it.
    NoCandidate { error: Box<str> },
    /// An attribute that is served cannot be evaluated any more.
    NotEvaluated(Box<NotEvaluated>),
    /// An attribute that is served cannot be built any more.
    NotBuilt(Box<NotBuilt>),

    /// The previous run is still running.
    StillRunning { run: RunId, age_ms: u64 },
    /// The base does not exist.
    NoBase { base: Box<Name> },
    /// No run was started.
    NotStarted,

    /// A step of healing observed this.
    Observed { text: Box<str> },
    /// The drone reported again by itself.
    ReportedAgain,
    /// The outcome of a step of healing was not reported.
    NotReported { step: HealStep },
    /// Healing must not touch the machine, as its last step showed.
    HandsOff(Box<LastStep>),
    /// The machine was not reached this many times.
    Unreachable(Box<Unreachable>),
    /// The drone is silent although healing has done what it may.
    StillSilent(Box<StillSilent>),
}

impl Reason {
    /// Words of an admin; `None` if there are none.
    #[must_use]
    pub fn admin(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self::Admin { text: text.into() })
    }

    /// The stable name of the cause, as it is recorded. `None` for the sentence of an older version.
    #[must_use]
    pub fn cause(&self) -> Option<&'static str> {
        Some(match self {
            Self::Text(_) => return None,
            Self::Admin { .. } => "admin",
            Self::DrainedByAdmin => "drained-by-admin",
            Self::CancelledByAdmin => "cancelled-by-admin",
            Self::EndedByAdmin => "ended-by-admin",
            Self::RetryRequested => "retry-requested",
            Self::Expired => "expired",
            Self::LeaseExpired => "lease-expired",
            Self::TimeExceeded => "time-exceeded",
            Self::Drone { .. } => "drone",
            Self::HandedBack { .. } => "handed-back",
            Self::SignedOff(_) => "signed-off",
            Self::Silent { .. } => "silent",
            Self::DroneRemoved => "drone-removed",
            Self::DroneGrounded { .. } => "drone-grounded",
            Self::AttemptLost(_) => "attempt-lost",
            Self::DroneFault { .. } => "drone-fault",
            Self::Rejected(_) => "rejected",
            Self::DifferentPackages(_) => "different-packages",
            Self::BuiltElsewhere(_) => "built-elsewhere",
            Self::PackageAtFault { .. } => "package-at-fault",
            Self::Strikes { .. } => "strikes",
            Self::Failed(_) => "failed",
            Self::SameError(_) => "same-error",
            Self::SameErrorAgain(_) => "same-error-again",
            Self::BuildFailures(_) => "build-failures",
            Self::TriesUsedUp(_) => "tries-used-up",
            Self::RecordsGone => "records-gone",
            Self::OutOfMemory(_) => "out-of-memory",
            Self::SourcesMissing(_) => "sources-missing",
            Self::MissingCapability(_) => "missing-capability",
            Self::Unchanged(_) => "unchanged",
            Self::PlanFailed(_) => "plan-failed",
            Self::Incomplete(_) => "incomplete",
            Self::ToolchainGone(_) => "toolchain-gone",
            Self::BaseFailed(_) => "base-failed",
            Self::BaseUnusable(_) => "base-unusable",
            Self::BaseGivenUp { .. } => "base-given-up",
            Self::NoCandidate { .. } => "no-candidate",
            Self::NotEvaluated(_) => "not-evaluated",
            Self::NotBuilt(_) => "not-built",
            Self::StillRunning { .. } => "still-running",
            Self::NoBase { .. } => "no-base",
            Self::NotStarted => "not-started",
            Self::Observed { .. } => "observed",
            Self::ReportedAgain => "reported-again",
            Self::NotReported { .. } => "not-reported",
            Self::HandsOff(_) => "hands-off",
            Self::Unreachable(_) => "unreachable",
            Self::StillSilent(_) => "still-silent",
        })
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => to.serialize_str(text),
            _ => Self::serialize(self, to),
        }
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Recorded)
    }
}

struct Recorded;

impl<'de> Visitor<'de> for Recorded {
    type Value = Reason;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a reason")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Reason, E> {
        Ok(Reason::Text(text.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Reason, A::Error> {
        Reason::deserialize(MapAccessDeserializer::new(map))
    }
}

/// The recorded form of a reason that may be missing: no reason is an empty sentence, as in older versions.
pub(crate) mod optional {
    use super::Reason;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(reason: &Option<Reason>, to: S) -> Result<S::Ok, S::Error> {
        match reason {
            Some(reason) => Serialize::serialize(reason, to),
            None => to.serialize_str(""),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Reason>, D::Error> {
        let reason = <Reason as Deserialize>::deserialize(from)?;
        Ok(Some(reason).filter(|reason| !matches!(reason, Reason::Text(text) if text.is_empty())))
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn a_reason_takes_no_more_room_than_a_sentence() {
        assert_eq!(size_of::<Option<Reason>>(), size_of::<String>());
    }
}
