//! Portage packages. An upload is signed and becomes an artifact as soon as it is complete.

mod accept;
mod collisions;
mod fit;
mod identity;
mod lost;
mod noted;
mod sonames;

use crate::{
    engine::Engine,
    intake::{
        AcceptError, ReceiveError, Storage,
        builder::{Builder, Examination, Examined, Fit},
        expected_upload::ExpectedUpload,
        upload::{Incoming, UploadError},
    },
    rejection::ExamineError,
    sign::OpenPgpKey,
    store::{ArtifactStore, disk::DiskError, entries::IndexEntryCache, sealed},
};
use accept::{Acceptance, Accepted};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};
use swarm_common::{
    digest::Digest,
    id::{AttemptId, DroneId},
    time::TimeMs,
    wire::{artifact::Artifact, drone::Target},
};
use swarm_formats::portage::gpkg::{Gpkg, Limits};
use tokio::sync::Semaphore;

/// An accepted file, and the target that it was accepted for.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct AcceptedUpload {
    target: Target,
    accepted: Accepted,
}

impl AcceptedUpload {
    fn artifact(self, attempt: AttemptId, drone: DroneId, uploaded_digest: Digest) -> Artifact {
        let Self { target, accepted } = self;
        let Accepted { digest, size, at: received_at, index_bytes, .. } = accepted;
        Artifact {
            target,
            digest,
            uploaded_digest,
            size,
            attempt,
            drone,
            received_at,
            index_bytes,
            nar: None,
        }
    }
}

pub struct Portage {
    engine: Engine,
    incoming: Incoming,
    store: Arc<dyn ArtifactStore>,
    entries: IndexEntryCache,
    key: Option<OpenPgpKey>,
    limits: Limits,
    /// Maximum size of a profile's index in bytes.
    index_bytes: u64,
    /// Accepted files that were not reported to the engine yet. A note beside each upload restores this after
    /// a restart. If the note is lost, the drone is asked to send the file again.
    unreported: Mutex<BTreeMap<(AttemptId, Digest), AcceptedUpload>>,
    at_once: Arc<Semaphore>,
    /// Held while a file that exceeds the normal memory limits is examined, so that there is only one.
    large: tokio::sync::Mutex<()>,
}

impl Portage {
    /// Signs with `key`. An index may have up to `index_bytes` bytes. Restores files that were accepted before
    /// a restart.
    #[must_use]
    pub fn new(
        engine: Engine,
        storage: &Storage,
        entries: IndexEntryCache,
        key: Option<OpenPgpKey>,
        limits: Limits,
        index_bytes: u64,
    ) -> Self {
        let Storage { incoming, store, at_once } = storage.clone();
        let unreported = Mutex::new(noted::noted(&incoming, &*store));
        let large = tokio::sync::Mutex::default();
        Self { engine, incoming, store, entries, key, limits, index_bytes, unreported, at_once, large }
    }

    async fn ensure_accepted(
        self: &Arc<Self>,
        attempt: AttemptId,
        digest: Digest,
        expected: ExpectedUpload,
        examined: Option<Result<Gpkg, ExamineError>>,
        build_time: TimeMs,
    ) -> Result<(), ReceiveError> {
        if self.find(attempt, digest).is_some_and(|taken| expected.targets.contains(&taken.target)) {
            return Ok(());
        }
        let _permit = self.at_once.acquire().await;
        let (this, first) = (self.clone(), expected.clone());
        let modest = self.limits.modest();
        let take = move || this.accept_blocking(attempt, digest, &first, examined, build_time, &modest);
        match tokio::task::spawn_blocking(take).await? {
            Err(ReceiveError::Large) => {}
            taken => return taken,
        }
        let _alone = self.large.lock().await;
        let this = self.clone();
        let take = move || this.accept_blocking(attempt, digest, &expected, None, build_time, &this.limits);
        tokio::task::spawn_blocking(take).await?
    }

    fn accept_blocking(
        &self,
        attempt: AttemptId,
        digest: Digest,
        expected: &ExpectedUpload,
        examined: Option<Result<Gpkg, ExamineError>>,
        build_time: TimeMs,
        limits: &Limits,
    ) -> Result<(), ReceiveError> {
        let upload = match self.incoming.status(attempt, digest) {
            Ok(upload) if upload.is_complete() => upload,
            Ok(_) | Err(UploadError::Unknown) => return Err(ReceiveError::NotUploaded(digest)),
            Err(error) => return Err(error.into()),
        };
        let examined = examined.unwrap_or_else(|| identity::examine_file(&upload.path, limits, build_time));
        if *limits != self.limits && identity::is_cut_short(&examined) {
            return Err(ReceiveError::Large);
        }
        let acceptance = Acceptance { key: self.key.as_ref(), store: &*self.store, entries: &self.entries };
        match acceptance.accept(&upload.path, examined, expected, digest, build_time) {
            Ok((target, accepted)) => {
                let taken = AcceptedUpload { target: target.clone().into(), accepted };
                let note = serde_json::to_string(&taken).map_err(|error| error.to_string());
                let noted = note.and_then(|note| {
                    let note = sealed::seal(&note);
                    let noted = self.incoming.note_accepted(attempt, digest, upload.size, &note);
                    noted.map_err(|error| error.to_string())
                });
                if let Err(error) = noted {
                    tracing::warn!(%attempt, %error, "cannot record a received file; after a restart it \
                        must be uploaded again");
                }
                self.unreported().insert((attempt, digest), taken);
                Ok(())
            }
            Err(error) => {
                if matches!(error, AcceptError::Rejected(_)) {
                    self.incoming.remove(attempt, digest)?;
                }
                Err(error.into())
            }
        }
    }

    fn find(&self, attempt: AttemptId, digest: Digest) -> Option<AcceptedUpload> {
        self.unreported().get(&(attempt, digest)).cloned()
    }

    fn unreported(&self) -> MutexGuard<'_, BTreeMap<(AttemptId, Digest), AcceptedUpload>> {
        self.unreported.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Builder for Portage {
    fn examination(&self, _: &ExpectedUpload, build_time: TimeMs) -> Option<Examination> {
        let limits = self.limits.modest();
        let examine = move |pieces: &mut dyn Read| identity::examine(pieces, &limits, build_time);
        Some(Box::new(move |pieces: &mut dyn Read| Box::new(examine(pieces)) as Examined))
    }

    fn is_accepted(&self, attempt: AttemptId, digest: Digest) -> bool {
        self.find(attempt, digest).is_some()
    }

    fn accept(
        self: Arc<Self>,
        attempt: AttemptId,
        digest: Digest,
        expected: ExpectedUpload,
        examined: Option<Examined>,
        build_time: TimeMs,
    ) -> BoxFuture<'static, Result<(), ReceiveError>> {
        let examined = examined.and_then(|examined| Some(*examined.downcast().ok()?));
        Box::pin(async move { self.ensure_accepted(attempt, digest, expected, examined, build_time).await })
    }

    fn artifacts(
        self: Arc<Self>,
        attempt: AttemptId,
        drone: DroneId,
        digests: Vec<Digest>,
        expected: ExpectedUpload,
        build_time: TimeMs,
    ) -> BoxFuture<'static, Result<Vec<Artifact>, ReceiveError>> {
        Box::pin(async move {
            let mut artifacts = Vec::with_capacity(digests.len());
            for (digest, target) in digests.into_iter().zip(expected.targets.clone()) {
                self.ensure_accepted(attempt, digest, expected.only(target.clone()), None, build_time)
                    .await?;
                let taken = self.find(attempt, digest).ok_or(ReceiveError::NotUploaded(digest))?;
                // If the package got another build ID, the drone's own copy is not the stored package.
                let uploaded_digest = if expected.any_build_id { taken.accepted.digest } else { digest };
                artifacts.push(AcceptedUpload { target, ..taken }.artifact(attempt, drone, uploaded_digest));
            }
            Ok(artifacts)
        })
    }

    fn fit(
        self: Arc<Self>,
        attempt: AttemptId,
        drone: DroneId,
        artifacts: Vec<Artifact>,
    ) -> BoxFuture<'static, Result<Fit, ReceiveError>> {
        Box::pin(async move { self.compare(attempt, drone, &artifacts).await })
    }

    fn unreported_artifacts(&self) -> BTreeSet<Digest> {
        self.unreported().values().map(|taken| taken.accepted.digest).collect()
    }

    fn retain(&self, open: &dyn Fn(AttemptId) -> bool) {
        self.unreported().retain(|(attempt, _), _| open(*attempt));
    }

    fn retain_derived(&self, artifacts: &[Artifact], before: SystemTime) -> Result<usize, DiskError> {
        let mut digests = self.unreported_artifacts();
        digests.extend(artifacts.iter().map(|artifact| artifact.digest));
        self.entries.retain(before, |digest| digests.contains(&digest))
    }
}
