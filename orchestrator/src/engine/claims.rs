//! Claims that wait for work.

use super::{Answer, EngineError};
use swarm_common::{id::DroneId, time::TimeMs, wire::drone::*};
use swarm_core::Reply;

/// A claim for which there was no work yet.
pub(super) struct Parked {
    pub(super) drone: DroneId,
    pub(super) request: ClaimRequest,
    pub(super) deadline: TimeMs,
    pub(super) answer: Answer,
}

/// What to do with a claim after a decision.
pub(super) enum Next {
    /// Answer when the batch is durable.
    Answer(Answer, Result<Reply, EngineError>),
    /// Keep it waiting.
    Park(Parked),
}

impl Parked {
    /// A claim that begins to wait at `now`.
    pub(super) fn new(now: TimeMs, drone: DroneId, request: ClaimRequest, answer: Answer) -> Self {
        let deadline = now + request.wait_ms.min(swarm_core::assign::LONGEST_WAIT_MS);
        Self { drone, request, deadline, answer }
    }

    /// Whether this claim replaces an older one. A drone has one claim at a time, so a claim with a
    /// new key means that it has forgotten the old one, even if the old connection still looks
    /// open, as after a power cut.
    pub(super) fn replaces(&self, older: &Self) -> bool {
        self.drone == older.drone && self.request.key != older.request.key
    }

    /// The answer to a claim that will not wait any longer: no work, and the reason.
    pub(super) fn dismissed(self, reason: &str) -> (Answer, Result<Reply, EngineError>) {
        let reason = Some(reason.to_owned());
        (self.answer, Ok(Reply::Claim(Box::new(ClaimReply { assignment: None, reason }))))
    }

    /// Whether the caller is gone. Such a claim must not be given work.
    pub(super) fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    /// Answers the claim, or keeps it parked if there was no work and it may still wait.
    pub(super) fn decided(self, now: TimeMs, reply: Result<Reply, EngineError>) -> Next {
        let empty = matches!(&reply, Ok(Reply::Claim(reply)) if reply.assignment.is_none());
        if empty && now < self.deadline { Next::Park(self) } else { Next::Answer(self.answer, reply) }
    }
}
