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

use crate::{
    engine::Engine,
    intake::{expected_upload::ExpectedUpload, streaming::StreamingExamination, upload::Incoming},
    nix::{listings::Listings, upstream::Upstreams},
    sign::OpenPgpKey,
    store::{ArtifactStore, disk::DiskError, entries::IndexEntryCache},
};
use nix::Nix;
use portage::Portage;
use std::{collections::BTreeSet, sync::Arc};
use swarm_common::{
    digest::Digest,
    id::AttemptId,
    time::TimeMs,
    wire::{admin::BuilderKind, view::KeyView},
};
use swarm_formats::portage::gpkg::Limits;
use tokio::sync::Semaphore;

/// Number of locks that all attempts share.
const TURNS: usize = 64;

/// How many files are checked and signed at once. Each occupies a processor.
const AT_ONCE: usize = 4;

pub struct Storage {
    pub incoming: Incoming,
    pub store: Arc<dyn ArtifactStore>,
    pub entries: IndexEntryCache,
    pub listings: Listings,
}

pub struct Intake {
    incoming: Incoming,
    portage: Arc<Portage>,
    nix: Arc<Nix>,
    turns: [tokio::sync::Mutex<()>; TURNS],
    /// Permits to examine uploads while they arrive. An upload without a permit is examined when it is
    /// complete, so slow connections block nobody.
    streaming_permits: Arc<Semaphore>,
}

impl Intake {
    /// Uses these directories, and signs with `key`. An index may have up to `index_bytes` bytes. Restores
    /// files that were accepted before a restart.
    #[must_use]
    pub fn new(
        engine: Engine,
        storage: Storage,
        key: Option<OpenPgpKey>,
        limits: Limits,
        index_bytes: u64,
        upstreams: Arc<Upstreams>,
    ) -> Self {
        let at_once = Arc::new(Semaphore::new(AT_ONCE));
        let nix = Nix::new(&storage, upstreams, at_once.clone());
        let portage = Portage::new(engine, &storage, key, limits, index_bytes, at_once);
        Self {
            incoming: storage.incoming,
            portage: Arc::new(portage),
            nix: Arc::new(nix),
            turns: std::array::from_fn(|_| tokio::sync::Mutex::new(())),
            streaming_permits: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// The implementation that accepts the expected files.
    #[must_use]
    pub fn of(&self, expected: &ExpectedUpload) -> Arc<dyn Builder> {
        match expected.kind {
            BuilderKind::Portage => self.portage.clone(),
            BuilderKind::Nix => self.nix.clone(),
        }
    }

    fn all(&self) -> [&dyn Builder; 2] {
        [&*self.portage, &*self.nix]
    }

    #[must_use]
    pub fn incoming(&self) -> &Incoming {
        &self.incoming
    }

    /// The key that signs packages; `None` if signing is off.
    #[must_use]
    pub fn key_view(&self) -> Option<KeyView> {
        self.portage.key_view()
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
        self.all().into_iter().flat_map(|builder| builder.unreported_artifacts()).collect()
    }

    /// Forgets accepted files of attempts that can no longer report them.
    pub fn retain(&self, open: impl Fn(AttemptId) -> bool) {
        self.all().into_iter().for_each(|builder| builder.retain(&open));
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
