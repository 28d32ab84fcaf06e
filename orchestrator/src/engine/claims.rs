//! Claims that wait for work.

use super::{Answer, EngineError};
use swarm_common::{id::DroneId, time::TimeMs, wire::drone::*};
use swarm_core::Reply;

/// A claim that had no work when it was last looked at.
pub(super) struct Parked {
    pub(super) drone: DroneId,
    pub(super) request: ClaimRequest,
    pub(super) deadline: TimeMs,
    pub(super) answer: Answer,
}

/// What to do with a claim that has been decided.
pub(super) enum Next {
    /// Answer when the batch is durable.
    Answer(Answer, Result<Reply, EngineError>),
    /// Keep it waiting.
    Park(Parked),
}

impl Parked {
    /// A claim that begins to wait at `now`.
    pub(super) fn new(now: TimeMs, drone: DroneId, request: ClaimRequest, answer: Answer) -> Self {
        let deadline = now + request.wait_ms.min(swarm_core::schedule::LONGEST_WAIT_MS);
        Self { drone, request, deadline, answer }
    }

    /// Whether it takes the place of an older claim. A drone asks once at a time, so with
    /// a new key it has forgotten the old claim, though its connection may not show that
    /// yet, as after a power cut.
    pub(super) fn replaces(&self, older: &Self) -> bool {
        self.drone == older.drone && self.request.key != older.request.key
    }

    /// The answer to a claim that is not waited for any longer.
    pub(super) fn dismissed(self, reason: &str) -> (Answer, Result<Reply, EngineError>) {
        let reason = Some(reason.to_owned());
        (self.answer, Ok(Reply::Claim(Box::new(ClaimReply { assignment: None, reason }))))
    }

    /// Whether its caller has gone. Then it must not be given work.
    pub(super) fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    /// What becomes of it, given its decision.
    pub(super) fn decided(self, now: TimeMs, reply: Result<Reply, EngineError>) -> Next {
        let empty = matches!(&reply, Ok(Reply::Claim(reply)) if reply.assignment.is_none());
        if empty && now < self.deadline { Next::Park(self) } else { Next::Answer(self.answer, reply) }
    }
}
