//! Nix archives. An archive is verified when its upload is complete. It becomes an artifact when its attempt
//! reports which output it is, because an archive does not contain its own path.

use super::{
    AcceptError, ReceiveError, Storage,
    builder::{Builder, Examination, Examined, Fit},
    expected_upload::ExpectedUpload,
    nars::Nars,
    upload::{Incoming, Upload, UploadError},
};
use crate::{
    nix::{
        archive::{self, NarFile, ScanTargets},
        listings::Listings,
        run_paths::{self, RunPaths},
        stored,
        upstream::Upstreams,
    },
    rejection::{ExamineError, Rejection},
    store::{ArtifactStore, StoreError, disk::DiskError},
};
use futures_util::future::BoxFuture;
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};
use swarm_common::{
    digest::Digest,
    id::{AttemptId, DroneId},
    time::TimeMs,
    wire::{
        artifact::Artifact,
        drone::Target,
        nix::{Nar, NixTarget},
    },
};
use swarm_formats::{
    nix::{nar::NarLimits, store_path::StorePath},
    snapshot::NixUpstream,
};
use tokio::sync::Semaphore;

pub struct Nix {
    incoming: Incoming,
    store: Arc<dyn ArtifactStore>,
    listings: Listings,
    upstreams: Arc<Upstreams>,
    nars: Mutex<Nars>,
    at_once: Arc<Semaphore>,
}

impl Nix {
    /// Checks archives with these `upstreams`.
    #[must_use]
    pub fn new(storage: &Storage, listings: Listings, upstreams: Arc<Upstreams>) -> Self {
        let Storage { incoming, store, at_once } = storage.clone();
        Self { incoming, store, listings, upstreams, nars: Mutex::default(), at_once }
    }

    /// What to look for in an archive of an attempt that may refer to `run_paths`.
    ///
    /// # Errors
    /// The snapshot cannot be read.
    fn targets(&self, run_paths: &RunPaths) -> Result<ScanTargets, ReceiveError> {
        Ok(run_paths.targets(!self.upstreams_of(run_paths)?.is_empty()))
    }

    fn upstreams_of(&self, run_paths: &RunPaths) -> Result<Vec<NixUpstream>, ReceiveError> {
        let Some(snapshot) = run_paths.snapshot else { return Ok(Vec::new()) };
        let source = self.upstreams.source(snapshot).map_err(|error| {
            AcceptError::Failed(format!("cannot read the snapshot {}: {error}", snapshot.short()))
        })?;
        Ok(source.upstreams.clone())
    }

    fn nar_limits(&self) -> NarLimits {
        archive::limits(self.incoming.max_bytes())
    }

    /// Verifies an uploaded archive. `examined` is the result of examining it while it arrived.
    ///
    /// # Errors
    /// The file is incomplete or rejected, an upstream cache does not answer, or the disk fails. A rejected
    /// file is removed.
    async fn verify_nar(
        self: &Arc<Self>,
        attempt: AttemptId,
        digest: Digest,
        run_paths: Arc<RunPaths>,
        examined: Option<Result<NarFile, ExamineError>>,
    ) -> Result<(), ReceiveError> {
        if self.nars().has_verified(attempt, digest) {
            return Ok(());
        }
        let verified = self.verified(attempt, digest, run_paths, examined).await;
        if matches!(verified, Err(ReceiveError::Accept(AcceptError::Rejected(_)))) {
            self.incoming.remove(attempt, digest)?;
        }
        self.nars().verified.insert((attempt, digest), verified?);
        Ok(())
    }

    async fn verified(
        self: &Arc<Self>,
        attempt: AttemptId,
        digest: Digest,
        run_paths: Arc<RunPaths>,
        examined: Option<Result<NarFile, ExamineError>>,
    ) -> Result<NarFile, ReceiveError> {
        let permit = self.at_once.acquire().await;
        let (this, shared) = (self.clone(), run_paths.clone());
        let examine = move || this.examine(attempt, digest, &shared, examined);
        let (mut file, upstreams) = tokio::task::spawn_blocking(examine).await??;
        drop(permit);
        if file.read != digest {
            let message = format!("the file's SHA-256 is {}, but {digest} was announced", file.read);
            return Err(AcceptError::from(Rejection { kind: "wrong-digest", message }).into());
        }
        run_paths.check(&file.references).map_err(AcceptError::from)?;
        let mentions = std::mem::take(&mut file.mentions);
        let others: Vec<String> = mentions.into_iter().filter(|hash| !run_paths.has(hash)).collect();
        if !others.is_empty() && !upstreams.is_empty() {
            // A path that no cache has is usually only mentioned. If the drone's Nix registered it as a
            // reference, its report is refused.
            let found = self.upstreams.find(&upstreams, others).await.map_err(ReceiveError::Upstream)?;
            file.references.extend(found);
        }
        Ok(file)
    }

    /// Adds references that the drone's Nix registered but the first examination could not find: that looks
    /// for the paths of the run, and finds other paths only where they are written in full.
    ///
    /// # Errors
    /// No cache has one of them.
    async fn confirm(
        self: &Arc<Self>,
        attempt: AttemptId,
        digest: Digest,
        run_paths: &Arc<RunPaths>,
        registered: &[String],
    ) -> Result<(), ReceiveError> {
        let seen = self.nars().verified.get(&(attempt, digest)).map(|file| file.references.clone());
        let Some(seen) = seen else { return Ok(()) };
        let registered = registered.iter().filter_map(|name| name.parse::<StorePath>().ok());
        let paths: BTreeSet<StorePath> = registered.filter(|path| !seen.contains(path)).collect();
        if paths.is_empty() {
            return Ok(());
        }
        let (this, run_paths) = (self.clone(), run_paths.clone());
        let look = move || {
            let upload = this.complete(attempt, digest)?;
            let targets = ScanTargets { paths, mentions: false };
            let examined = archive::examine_file(&upload.path, &this.nar_limits(), &targets);
            let file = examined.map_err(|error| unsound(error, &upload))?;
            Ok::<_, ReceiveError>((file.references, this.upstreams_of(&run_paths)?))
        };
        let permit = self.at_once.acquire().await;
        let (contained, upstreams) = tokio::task::spawn_blocking(look).await??;
        drop(permit);
        let hashes = contained.iter().map(|path| path.hash_part().to_owned()).collect();
        let found = self.upstreams.find(&upstreams, hashes).await.map_err(ReceiveError::Upstream)?;
        if let Some(path) = contained.difference(&found).next() {
            let caches: Vec<&str> = upstreams.iter().map(|upstream| upstream.url.as_str()).collect();
            let caches = if caches.is_empty() { "none".to_owned() } else { caches.join(", ") };
            let message = format!(
                "the archive refers to {path}, which the run does not have, and no upstream cache with a signature by \
                 one of its keys: {caches}"
            );
            return Err(AcceptError::from(Rejection { kind: "missing-reference", message }).into());
        }
        if let Some(file) = self.nars().verified.get_mut(&(attempt, digest)) {
            file.references.extend(contained);
        }
        Ok(())
    }

    /// Examines an upload and keeps its listing.
    fn examine(
        &self,
        attempt: AttemptId,
        digest: Digest,
        run_paths: &RunPaths,
        examined: Option<Result<NarFile, ExamineError>>,
    ) -> Result<(NarFile, Vec<NixUpstream>), ReceiveError> {
        let upload = self.complete(attempt, digest)?;
        let upstreams = self.upstreams_of(run_paths)?;
        let examined = examined.unwrap_or_else(|| {
            archive::examine_file(&upload.path, &self.nar_limits(), &run_paths.targets(!upstreams.is_empty()))
        });
        let mut file = examined.map_err(|error| unsound(error, &upload))?;
        if let Some(listing) = file.listing.take() {
            self.listings.put(file.sum.hash, &listing).map_err(AcceptError::from)?;
        }
        Ok((file, upstreams))
    }

    fn complete(&self, attempt: AttemptId, digest: Digest) -> Result<Upload, ReceiveError> {
        match self.incoming.status(attempt, digest) {
            Ok(upload) if upload.is_complete() => Ok(upload),
            Ok(_) | Err(UploadError::Unknown) => Err(ReceiveError::NotUploaded(digest)),
            Err(error) => Err(error.into()),
        }
    }

    /// The artifacts of an attempt, in the order of its targets.
    ///
    /// # Errors
    /// A file is missing or is not its target, or the disk fails.
    async fn nar_artifacts(
        self: &Arc<Self>,
        attempt: AttemptId,
        drone: DroneId,
        files: Vec<(Digest, Target)>,
        run_paths: Arc<RunPaths>,
        references: Vec<Vec<String>>,
        at: TimeMs,
    ) -> Result<Vec<Artifact>, ReceiveError> {
        for (nth, (digest, target)) in files.iter().enumerate() {
            let stored = target.nix().is_some_and(|target| self.stored(attempt, target, *digest).is_some());
            if !stored {
                self.verify_nar(attempt, *digest, run_paths.clone(), None).await?;
                let registered = references.get(nth).map_or(&[][..], Vec::as_slice);
                self.confirm(attempt, *digest, &run_paths, registered).await?;
            }
        }
        let this = self.clone();
        let store = move || {
            let mut artifacts = Vec::with_capacity(files.len());
            for (nth, (digest, target)) in files.iter().enumerate() {
                let Target::Nix(target) = target else { continue };
                let again = files[nth + 1..].iter().any(|(other, _)| other == digest);
                artifacts.push(this.store_nar(attempt, drone, *digest, target, again, at)?);
            }
            Ok(artifacts)
        };
        tokio::task::spawn_blocking(store).await?
    }

    /// Moves a verified upload into the store as `target`, or copies it if it is needed `again`.
    fn store_nar(
        &self,
        attempt: AttemptId,
        drone: DroneId,
        uploaded_digest: Digest,
        target: &NixTarget,
        again: bool,
        received_at: TimeMs,
    ) -> Result<Artifact, ReceiveError> {
        if let Some(stored) = self.stored(attempt, target, uploaded_digest) {
            return Ok(stored);
        }
        let verified = self.nars().verified.get(&(attempt, uploaded_digest)).cloned();
        let file = verified.ok_or(ReceiveError::NotUploaded(uploaded_digest))?;
        let references = run_paths::references_as(target, &file).map_err(AcceptError::from)?;
        let upload = self.complete(attempt, uploaded_digest)?;
        let tail = stored::tail(&target.path);
        let (digest, size) = (stored::digest_with(file.hash.clone(), &tail), file.size + tail.len() as u64);
        self.keep(&upload, file.size, &tail, digest, again).map_err(AcceptError::from)?;
        let references = references.iter().map(StorePath::to_string).collect();
        let nar = Nar { hash: file.sum.hash, size: file.sum.size, references };
        let artifact = Artifact {
            target: target.clone().into(),
            digest,
            uploaded_digest,
            size,
            attempt,
            drone,
            received_at,
            index_bytes: 0,
            nar: Some(Box::new(nar)),
        };
        self.nars().stored.insert((attempt, target.path.clone()), artifact.clone());
        Ok(artifact)
    }

    fn keep(
        &self,
        upload: &Upload,
        size: u64,
        tail: &[u8],
        digest: Digest,
        again: bool,
    ) -> Result<(), StoreError> {
        if !again {
            return self.store.take_over(&upload.path, size, None, tail, digest);
        }
        let mut file = File::open(&upload.path).map_err(DiskError::at("open", &upload.path))?;
        let mut copy = self.store.create()?;
        let copied = io::copy(&mut file, &mut copy).and_then(|_| copy.write_all(tail));
        copied.map_err(DiskError::at("copy", &upload.path))?;
        copy.commit(digest)
    }

    fn stored(&self, attempt: AttemptId, target: &NixTarget, uploaded: Digest) -> Option<Artifact> {
        let nars = self.nars();
        let stored = nars.stored.get(&(attempt, target.path.clone()))?;
        (stored.uploaded_digest == uploaded).then(|| stored.clone())
    }

    fn nars(&self) -> MutexGuard<'_, Nars> {
        self.nars.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Maps a failed examination to the reason why the upload is not accepted.
fn unsound(error: ExamineError, upload: &Upload) -> AcceptError {
    match error {
        ExamineError::Rejected(rejection) => rejection.into(),
        ExamineError::Unreadable(error) => DiskError::new("read", &upload.path, error).into(),
    }
}

impl Builder for Nix {
    fn examination(&self, expected: &ExpectedUpload, _: TimeMs) -> Option<Examination> {
        // If the snapshot cannot be read, the examination of the complete file reports it.
        let (targets, limits) = (self.targets(&expected.run_paths).ok()?, self.nar_limits());
        let examine = move |pieces: &mut dyn Read| archive::examine(pieces, &limits, &targets);
        Some(Box::new(move |pieces: &mut dyn Read| Box::new(examine(pieces)) as Examined))
    }

    fn is_accepted(&self, attempt: AttemptId, digest: Digest) -> bool {
        self.nars().has_verified(attempt, digest)
    }

    /// Only verifies the archive, because it does not tell which of the expected outputs it is.
    fn accept(
        self: Arc<Self>,
        attempt: AttemptId,
        digest: Digest,
        expected: ExpectedUpload,
        examined: Option<Examined>,
        _: TimeMs,
    ) -> BoxFuture<'static, Result<(), ReceiveError>> {
        let examined = examined.and_then(|examined| Some(*examined.downcast().ok()?));
        Box::pin(async move { self.verify_nar(attempt, digest, expected.run_paths, examined).await })
    }

    fn artifacts(
        self: Arc<Self>,
        attempt: AttemptId,
        drone: DroneId,
        digests: Vec<Digest>,
        expected: ExpectedUpload,
        at: TimeMs,
    ) -> BoxFuture<'static, Result<Vec<Artifact>, ReceiveError>> {
        let files = digests.into_iter().zip(expected.targets).collect();
        Box::pin(async move {
            self.nar_artifacts(attempt, drone, files, expected.run_paths, expected.references, at).await
        })
    }

    /// Always fits: store paths share no files, find their libraries by store path, and have no index.
    fn fit(
        self: Arc<Self>,
        _: AttemptId,
        _: DroneId,
        _: Vec<Artifact>,
    ) -> BoxFuture<'static, Result<Fit, ReceiveError>> {
        Box::pin(async { Ok(Fit::default()) })
    }

    fn unreported_artifacts(&self) -> BTreeSet<Digest> {
        self.nars().stored.values().map(|artifact| artifact.digest).collect()
    }

    fn retain(&self, open: &dyn Fn(AttemptId) -> bool) {
        self.nars().retain(open);
    }

    fn retain_derived(&self, artifacts: &[Artifact], before: SystemTime) -> Result<usize, DiskError> {
        let nars: BTreeSet<Digest> = artifacts.iter().filter_map(|a| Some(a.nar.as_ref()?.hash)).collect();
        self.listings.retain(before, |nar| nars.contains(&nar))
    }
}
