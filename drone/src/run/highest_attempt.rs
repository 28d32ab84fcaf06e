//! The highest attempt ID that this drone was assigned. An orchestrator whose journal was rolled back learns
//! from it which IDs are in use.

use std::{
    fs,
    path::{Path, PathBuf},
};
use swarm_common::id::AttemptId;

/// The attempt, and the file that stores it.
pub(super) struct HighestAttempt {
    file: PathBuf,
    attempt: Option<AttemptId>,
}

impl HighestAttempt {
    /// Reads the attempt that an earlier start saved. A drone that has just enrolled starts without one,
    /// because it may have another orchestrator than before.
    pub(super) fn open(state_dir: &Path, is_new: bool) -> Self {
        let file = state_dir.join("highest-attempt");
        // A damaged or unreadable file counts as missing.
        let kept = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
        Self { file, attempt: kept.filter(|_| !is_new) }
    }

    pub(super) fn get(&self) -> Option<AttemptId> {
        self.attempt
    }

    pub(super) fn note(&mut self, attempt: AttemptId) {
        if self.attempt >= Some(attempt) {
            return;
        }
        self.attempt = Some(attempt);
        if let Err(error) = fs::write(&self.file, format!("{attempt}\n")) {
            tracing::warn!(%error, file = %self.file.display(), "cannot save the highest attempt ID");
        }
    }
}
