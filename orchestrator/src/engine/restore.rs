//! The state out of a journal: a snapshot, and what came after it.

use crate::journal::{Journal, JournalError, Replay};
use swarm_core::{Policy, Record, Swarm};

/// The state as a journal holds it.
pub(super) struct Restored {
    pub(super) swarm: Swarm,
    /// The event of the snapshot that it was begun from; 0 if from none.
    pub(super) snapshot: u64,
}

impl Restored {
    /// What there is before anything is read.
    pub(super) fn empty(policy: Policy) -> Self {
        Self { swarm: Swarm::new(policy), snapshot: 0 }
    }
}

/// The journal, and the state that it holds; `None` if it cannot be read yet.
pub(super) fn load(
    mut journal: Box<dyn Journal>,
    policy: Policy,
) -> Result<(Box<dyn Journal>, Option<Restored>), JournalError> {
    let mut restored = Restored::empty(policy);
    match journal.load(&mut restored) {
        Ok(()) => Ok((journal, Some(restored))),
        Err(error) if error.may_pass() => {
            tracing::error!(%error, "the journal cannot be read yet; what is published is served meanwhile");
            Ok((journal, None))
        }
        Err(error) => Err(error),
    }
}

impl Replay for Restored {
    fn snapshot(&mut self, state: &str) -> bool {
        match serde_json::from_str::<Swarm>(state) {
            Ok(swarm) => {
                self.snapshot = swarm.seq;
                let policy = std::mem::take(&mut self.swarm.policy);
                self.swarm = Swarm { policy, ..swarm };
                true
            }
            // As after an update that keeps more of the state than before.
            Err(error) => {
                tracing::warn!(%error, "a snapshot cannot be read");
                false
            }
        }
    }

    fn record(&mut self, record: Record) {
        self.swarm.apply(&record);
    }
}
