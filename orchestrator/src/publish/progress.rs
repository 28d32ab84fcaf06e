//! The progress of publishing.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// For callers that wait for publishing or check for errors.
#[derive(Debug, Default)]
pub struct Progress {
    seq: watch::Sender<u64>,
    error: Mutex<Option<String>>,
}

impl Progress {
    /// Waits until everything up to event `seq` is published. Returns false after `limit`.
    pub async fn reached(&self, seq: u64, limit: Duration) -> bool {
        let mut published = self.seq.subscribe();
        let reached = published.wait_for(|published| *published >= seq);
        matches!(tokio::time::timeout(limit, reached).await, Ok(Ok(_)))
    }

    /// Changes with each successful pass.
    #[must_use]
    pub fn passes(&self) -> watch::Receiver<u64> {
        self.seq.subscribe()
    }

    /// Why the last pass failed, if it did.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records that a pass has ended, and why it failed if it did. `complete` is whether everything up to
    /// event `seq` that can be published is published.
    pub(crate) fn tell(&self, seq: u64, error: Option<String>, complete: bool) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
        if complete {
            self.seq.send_replace(seq);
        }
    }
}
