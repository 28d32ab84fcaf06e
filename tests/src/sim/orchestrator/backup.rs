//! Replaces a journal by an older copy of itself. Files received since then stay on disk.

use super::Orchestrator;
use crate::sim::rng::Rng;
use swarm_core::{Swarm, state::Ending};

/// Maximum number of commits that a restore loses.
const MOST_LOST: u64 = 60;

/// The states of the journal of which there may be a backup.
#[derive(Debug, Default)]
pub(super) struct Backups {
    /// The length of the journal after each commit.
    lengths: Vec<usize>,
    /// Whether the journal was restored and no orchestrator has started with it yet.
    pub(super) restored: bool,
}

impl Backups {
    pub(super) fn committed(&mut self, length: usize) {
        self.lengths.push(length);
    }
}

impl Orchestrator {
    /// Forgets the history, so that no backup is older than this moment.
    pub fn first_backup(&mut self) {
        self.backups.lengths = vec![self.journal.len()];
    }

    /// Kills the program and restores its journal from a backup.
    pub fn restore(&mut self, rng: &mut Rng) {
        self.die();
        let backups = &mut self.backups;
        let lost = rng.below(MOST_LOST.min(backups.lengths.len() as u64));
        backups.lengths.truncate(backups.lengths.len() - lost as usize);
        self.journal.truncate(backups.lengths.last().copied().unwrap_or(0));
        backups.restored = true;
        self.snapshot.take_if(|(length, _)| *length > self.journal.len());
        self.shadow = Swarm::default();
        for record in &self.journal {
            self.shadow.apply(record);
        }
        self.oracle.restored(&self.journal);
        self.acknowledged.retain(|_, attempt| {
            let record = self.shadow.attempts.get(attempt);
            record.is_some_and(|record| record.ending == Some(Ending::Accepted))
        });
    }
}
