//! Restores the state from a journal: a checkpoint and the records after it.

use super::checkpoint;
use crate::journal::{Journal, JournalError, Replay};
use swarm_core::{Policy, Record, Swarm};

pub(super) struct Restored {
    pub(super) swarm: Swarm,
    /// Number of the event at which the checkpoint was taken; 0 without a checkpoint.
    pub(super) checkpoint: u64,
}

impl Restored {
    /// The state before anything was read.
    pub(super) fn empty(policy: Policy) -> Self {
        Self { swarm: Swarm::new(policy), checkpoint: 0 }
    }
}

/// Loads the state. Returns `None` if the journal cannot be read yet but may be later.
pub(super) fn load(
    mut journal: Box<dyn Journal>,
    policy: Policy,
) -> Result<(Box<dyn Journal>, Option<Restored>), JournalError> {
    let mut restored = Restored::empty(policy);
    match journal.load(&mut restored) {
        Ok(()) => Ok((journal, Some(restored))),
        Err(error) if error.may_pass() => {
            tracing::error!(%error, "cannot read the journal yet, retrying; published packages are still \
                served");
            Ok((journal, None))
        }
        Err(error) => Err(error),
    }
}

impl Replay for Restored {
    fn checkpoint(&mut self, state: &str) -> bool {
        match checkpoint::decode(state) {
            Ok(swarm) => {
                self.checkpoint = swarm.seq;
                let policy = std::mem::take(&mut self.swarm.policy);
                self.swarm = Swarm { policy, ..swarm };
                true
            }
            // For example, an update added required fields to the state.
            Err(error) => {
                tracing::warn!(%error, "cannot read a checkpoint");
                false
            }
        }
    }

    fn record(&mut self, record: Record) {
        self.swarm.apply(&record);
    }
}
