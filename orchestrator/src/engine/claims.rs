//! Claims that wait for work.

use super::{Answer, EngineError};
use swarm_common::{id::DroneId, time::TimeMs, wire::drone::*};
use swarm_core::Reply;

/// A claim for which there was no work when it arrived.
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
    Park(Parked),
}

impl Parked {
    /// A claim that starts waiting at `now`.
    pub(super) fn new(now: TimeMs, drone: DroneId, request: ClaimRequest, answer: Answer) -> Self {
        let deadline = now + request.wait_ms.min(swarm_core::assign::LONGEST_WAIT_MS);
        Self { drone, request, deadline, answer }
    }

    /// Whether this claim replaces an older one. A drone has one claim at a time. A claim with a new key
    /// means that the drone has forgotten the old one, even if the old connection still looks open, as after
    /// a power failure.
    pub(super) fn replaces(&self, older: &Self) -> bool {
        self.drone == older.drone && self.request.key != older.request.key
    }

    /// Answers a claim that stops waiting: no work, with the reason.
    pub(super) fn dismissed(self, reason: &str) -> (Answer, Result<Reply, EngineError>) {
        let reason = Some(reason.to_owned());
        (self.answer, Ok(Reply::Claim(Box::new(ClaimReply { assignment: None, reason }))))
    }

    /// Whether the caller is gone. Work must not be given to such a claim.
    pub(super) fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    /// Answers the claim, or keeps it parked if there was no work and it may still wait.
    pub(super) fn decided(self, now: TimeMs, reply: Result<Reply, EngineError>) -> Next {
        let empty = matches!(&reply, Ok(Reply::Claim(reply)) if reply.assignment.is_none());
        if empty && now < self.deadline { Next::Park(self) } else { Next::Answer(self.answer, reply) }
    }
}
