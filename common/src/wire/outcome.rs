//! How an attempt ended, as reported by the drone.

use super::plan::PlanReport;
use crate::{
    digest::Digest,
    state::{FailureCause, FailureClass, Phase},
};
use serde::{Deserialize, Serialize};

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case", try_from = "RawOutcome")]
pub enum Outcome {
    /// The resolver's answer.
    Planned {
        /// The plan.
        plan: PlanReport,
    },
    /// All files were uploaded; their digests, in the order of the targets.
    Built {
        /// Digests of the uploaded files, as uploaded.
        artifacts: Vec<Digest>,
    },
    /// The base was made and passed all checks.
    Based,
    /// It failed.
    Failed {
        /// The failure.
        failure: Failure,
    },
    /// The drone is stopping and returns the work; nobody's fault.
    HandedBack {
        /// The reason.
        reason: String,
    },
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Failure {
    /// Whose fault it is, as far as the drone can determine.
    pub class: FailureClass,
    /// The missing resource, if that is the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<FailureCause>,
    /// The phase in which it happened.
    pub phase: Phase,
    /// The first error, normalised (no paths, numbers, times), for comparison. At most 200 characters.
    pub signature: String,
    /// The first error as it was printed. At most 4 KiB.
    pub message: String,
}

impl Failure {
    /// A short form of the error for display: its first line as printed. At most 300 characters, of which the
    /// last shows that the rest was cut off.
    #[must_use]
    pub fn headline(&self) -> String {
        let first = self.message.lines().map(str::trim).find(|line| !line.is_empty());
        let first = first.unwrap_or(&self.signature);
        match first.char_indices().nth(300) {
            None => first.to_owned(),
            Some(_) => first.chars().take(299).chain(['…']).collect(),
        }
    }
}

/// The wire form of [`Outcome`]. To find the tag, serde's own implementation would first buffer
/// everything untyped, which for a plan is several times its size.
#[derive(Deserialize)]
struct RawOutcome {
    kind: Kind,
    plan: Option<PlanReport>,
    artifacts: Option<Vec<Digest>>,
    failure: Option<Failure>,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Planned,
    Built,
    Based,
    Failed,
    HandedBack,
}

/// An outcome lacks a field that its kind requires.
#[derive(Debug, thiserror::Error)]
#[error("missing field `{0}`")]
struct Missing(&'static str);

impl TryFrom<RawOutcome> for Outcome {
    type Error = Missing;

    fn try_from(raw: RawOutcome) -> Result<Self, Missing> {
        Ok(match raw.kind {
            Kind::Planned => Self::Planned { plan: raw.plan.ok_or(Missing("plan"))? },
            Kind::Built => Self::Built { artifacts: raw.artifacts.ok_or(Missing("artifacts"))? },
            Kind::Based => Self::Based,
            Kind::Failed => Self::Failed { failure: raw.failure.ok_or(Missing("failure"))? },
            Kind::HandedBack => Self::HandedBack { reason: raw.reason.ok_or(Missing("reason"))? },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_read_as_it_was_written_wherever_its_kind_stands() {
        let built = Outcome::Built { artifacts: vec![Digest::of(b"a")] };
        let handed_back = Outcome::HandedBack { reason: "no".into() };
        for outcome in [built, Outcome::Based, handed_back] {
            let text = serde_json::to_string(&outcome).unwrap();
            assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);
        }
        let last: Outcome = serde_json::from_str(r#"{"reason":"no","kind":"handed_back"}"#).unwrap();
        assert_eq!(last, Outcome::HandedBack { reason: "no".into() });
    }

    #[test]
    fn an_outcome_without_what_its_kind_brings_is_refused() {
        for (text, why) in [
            (r#"{"kind":"built","reason":"no"}"#, "missing field `artifacts`"),
            (r#"{"kind":"lost"}"#, "unknown variant `lost`"),
            (r#"{"reason":"no"}"#, "missing field `kind`"),
        ] {
            let error = serde_json::from_str::<Outcome>(text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
