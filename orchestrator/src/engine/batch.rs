//! What one round of the engine has decided but not yet written to the journal.

use super::{Answer, EngineError, Message};
use crate::journal::QueueDelta;
use std::collections::VecDeque;
use swarm_core::{Policy, Record, Reply, Swarm};

/// The records of a round, and the answers to send once they are durable.
#[derive(Default)]
pub(super) struct Batch {
    /// The policy that the batch was decided with, if it changed.
    pub(super) policy: Option<Policy>,
    pub(super) records: Vec<Record>,
    /// Records that are not journaled, each with its position relative to `records`.
    fleeting: Vec<(usize, Record)>,
    pub(super) delta: QueueDelta,
    pub(super) answers: Vec<(Answer, Result<Reply, EngineError>)>,
}

impl Batch {
    /// Adds records, journaled or not.
    pub(super) fn extend(&mut self, records: Vec<Record>) {
        for record in records {
            if record.event.is_durable() {
                self.records.push(record);
            } else {
                self.fleeting.push((self.records.len(), record));
            }
        }
    }

    /// Applies to the other copy of the state what was applied to `shown`, in the same order.
    pub(super) fn apply(self, swarm: &mut Swarm, shown: &Swarm) {
        if let Some(policy) = self.policy {
            swarm.policy = policy;
        }
        let mut fleeting = self.fleeting.iter().peekable();
        for (position, record) in self.records.iter().enumerate() {
            while let Some((_, before)) = fleeting.next_if(|(before, _)| *before <= position) {
                swarm.apply_like(before, Some(shown));
            }
            swarm.apply_like(record, Some(shown));
        }
        fleeting.for_each(|(_, record)| swarm.apply_like(record, Some(shown)));
    }
}

/// The policy of the last policy message; `None` without one.
pub(super) fn newest_policy(messages: &VecDeque<Message>) -> Option<&Policy> {
    messages.iter().rev().find_map(|message| match message {
        Message::Policy { policy, .. } => Some(&**policy),
        _ => None,
    })
}
