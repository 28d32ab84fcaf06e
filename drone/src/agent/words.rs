//! The agent's status text, and the reports of attempts that it gives up.

use super::Agent;
use swarm_common::{
    state::{FailureClass, Phase},
    wire::drone::*,
};

impl Agent {
    /// A short description of the current state for the service manager's status line.
    #[must_use]
    pub fn status_text(&self) -> &'static str {
        match (self.is_building(), self.is_at_rest(), self.stop.is_some(), self.paused) {
            (true, _, true, _) => "stopping after the current builds",
            (_, _, true, _) => "stopping",
            (true, _, _, true) => "draining after the current builds",
            (_, _, _, true) => "drained until resumed",
            (true, ..) => "building",
            (_, false, ..) => "delivering",
            _ => "waiting for work",
        }
    }
}

pub(super) fn handed_back(reason: &str) -> ReportRequest {
    ReportRequest::new(Outcome::HandedBack { reason: reason.to_owned() }, Usage::default())
}

/// The report of an attempt whose result could not be delivered.
pub(super) fn undelivered(why: &str, for_ms: u64) -> Box<ReportRequest> {
    let failure = Failure {
        class: FailureClass::Infra,
        cause: None,
        phase: Phase::Uploading,
        signature: "cannot deliver the result to the orchestrator".into(),
        message: format!("the delivery has made no progress for {} min: {why}", for_ms / 60_000),
    };
    Box::new(ReportRequest::new(Outcome::Failed { failure }, Usage::default()))
}

/// The report of an attempt whose result cannot be read from the spool. It blames the drone's disk.
pub(super) fn damaged(why: &str) -> Box<ReportRequest> {
    let failure = Failure {
        class: FailureClass::Drone,
        cause: None,
        phase: Phase::Uploading,
        signature: "the stored result was damaged".into(),
        message: format!("the stored result was damaged: {why}"),
    };
    Box::new(ReportRequest::new(Outcome::Failed { failure }, Usage::default()))
}

/// The report of a build that was interrupted because the drone ended. It counts as a failed attempt, because
/// a package that crashes its machine must not be retried forever.
pub(super) fn cut_off() -> ReportRequest {
    let failure = Failure {
        class: FailureClass::Lost,
        cause: None,
        phase: Phase::Building,
        signature: "the drone exited during the build".into(),
        message: "swarm-drone was killed or its machine went down during the build".into(),
    };
    ReportRequest::new(Outcome::Failed { failure }, Usage::default())
}
