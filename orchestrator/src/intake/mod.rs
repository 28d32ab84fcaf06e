//! Accepts uploaded files: everything between the uploaded bytes ([`upload`]) and the command that reports
//! them to the engine. How a file is handled depends on the [kind of builder](Builder) that made it.
//!
//! A file is checked, signed, stored and synced before the engine learns of it. If anything fails in between,
//! the drone sends it again, because it keeps its file until its report is accepted.

mod builder;
mod error;
pub mod expected_upload;
mod nars;
mod nix;
mod portage;
pub mod streaming;
pub mod upload;
mod writeback;

pub use builder::{Builder, Examined, Fit};
pub use error::{AcceptError, ReceiveError};
pub use nix::Nix;
pub use portage::Portage;

use crate::{
    intake::{expected_upload::ExpectedUpload, streaming::StreamingExamination, upload::Incoming},
    kinds::PerKind,
    store::{ArtifactStore, disk::DiskError},
};
use std::{collections::BTreeSet, sync::Arc, time::SystemTime};
use swarm_common::{digest::Digest, id::AttemptId, time::TimeMs, wire::artifact::Artifact};
use tokio::sync::Semaphore;

/// Number of locks that all attempts share.
const TURNS: usize = 64;

/// How many files are checked and signed at once. Each occupies a processor.
const AT_ONCE: usize = 4;

/// The directories that all kinds of builders share.
#[derive(Clone)]
pub struct Storage {
    pub incoming: Incoming,
    pub store: Arc<dyn ArtifactStore>,
    at_once: Arc<Semaphore>,
}

impl Storage {
    #[must_use]
    pub fn new(incoming: Incoming, store: Arc<dyn ArtifactStore>) -> Self {
        Self { incoming, store, at_once: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

pub struct Intake {
    incoming: Incoming,
    builders: PerKind<Arc<dyn Builder>>,
    turns: [tokio::sync::Mutex<()>; TURNS],
    /// Permits to examine uploads while they arrive. An upload without a permit is examined when it is
    /// complete, so slow connections block nobody.
    streaming_permits: Arc<Semaphore>,
}

impl Intake {
    #[must_use]
    pub fn new(incoming: Incoming, builders: PerKind<Arc<dyn Builder>>) -> Self {
        Self {
            incoming,
            builders,
            turns: std::array::from_fn(|_| tokio::sync::Mutex::new(())),
            streaming_permits: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// The implementation that accepts the expected files.
    #[must_use]
    pub fn of(&self, expected: &ExpectedUpload) -> Arc<dyn Builder> {
        self.builders.get(expected.kind).clone()
    }

    fn all(&self) -> impl Iterator<Item = &dyn Builder> {
        self.builders.iter().map(|(_, builder)| &**builder)
    }

    #[must_use]
    pub fn incoming(&self) -> &Incoming {
        &self.incoming
    }

    /// Waits for the lock of this attempt, to accept or report its files.
    pub async fn turn(&self, attempt: AttemptId) -> tokio::sync::MutexGuard<'_, ()> {
        self.turns[(attempt.0 % TURNS as u64) as usize].lock().await
    }

    /// Starts to examine an upload while it arrives, if a permit is free.
    #[must_use]
    pub fn examine_streaming(
        &self,
        expected: &ExpectedUpload,
        build_time: TimeMs,
    ) -> Option<StreamingExamination<Examined>> {
        let permit = self.streaming_permits.clone().try_acquire_owned().ok()?;
        Some(StreamingExamination::start(permit, self.of(expected).examination(expected, build_time)?))
    }

    /// Stored artifacts that were not reported to the engine yet.
    #[must_use]
    pub fn unreported_artifacts(&self) -> BTreeSet<Digest> {
        self.all().flat_map(|builder| builder.unreported_artifacts()).collect()
    }

    /// Forgets accepted files of attempts that can no longer report them.
    pub fn retain(&self, open: impl Fn(AttemptId) -> bool) {
        self.all().for_each(|builder| builder.retain(&open));
    }

    /// Removes files older than `before` that are derived from other artifacts than these, and returns how many.
    ///
    /// # Errors
    /// The disk fails.
    pub fn retain_derived(&self, artifacts: &[Artifact], before: SystemTime) -> Result<usize, DiskError> {
        self.all().map(|builder| builder.retain_derived(artifacts, before)).sum()
    }

    /// Removes all uploads of an attempt; accepted artifacts stay in the store.
    pub async fn forget(self: &Arc<Self>, attempt: AttemptId) {
        self.retain(|of| of != attempt);
        let this = self.clone();
        let removed = tokio::task::spawn_blocking(move || this.incoming.remove_attempt(attempt)).await;
        let removed = removed.map_err(|error| error.to_string());
        if let Err(error) =
            removed.and_then(|removed: Result<(), DiskError>| removed.map_err(|e| e.to_string()))
        {
            // The leftover only costs space, and the next sweep tries again.
            tracing::warn!(%attempt, %error, "cannot remove an unneeded upload");
        }
    }
}
