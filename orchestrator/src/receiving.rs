//! From the last uploaded byte to a stored, signed package: what lies between the upload's
//! bytes ([`crate::artifact::upload`]) and the command that tells the engine.
//!
//! The order is the point: checked, signed, stored and synced first, then told. Whatever
//! breaks in between is repeated by the drone, which keeps its file until it is told that
//! the package was received.

use crate::{
    artifact::{
        accept::{AcceptError, Acceptance, Accepted},
        alongside::Alongside,
        disk::DiskError,
        entries::EntryBook,
        intake::IntakeError,
        store::Store,
        upload::{Incoming, UploadError},
    },
    collisions,
    sign::OpenPgpKey,
    sonames,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use swarm_common::{
    digest::Digest,
    format::gpkg::{Gpkg, Limits},
    id::{AttemptId, DroneId},
    time::TimeMs,
    wire::{artifact::Artifact, drone::Target, view::KeyView},
};
use swarm_core::{Refusal, Swarm, attempt::Job, closure::Surroundings, collision::Collision};
use tokio::sync::Semaphore;

/// Attempts share this many locks.
const TURNS: usize = 64;

/// Packages that are checked and signed at once; each keeps a processor busy.
const AT_ONCE: usize = 4;

/// Why a file of an attempt was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The file is at fault, or our disk or key.
    #[error(transparent)]
    Accept(#[from] AcceptError),
    /// It was never uploaded, or not to its end.
    #[error("file {0} was not uploaded: announce and send it, then report again")]
    NotUploaded(Digest),
    /// The upload.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// Work in the background broke off.
    #[error("checking the package broke off: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

/// A file that was taken, and as which target.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Taken {
    target: Target,
    accepted: Accepted,
}

impl Taken {
    fn artifact(self, attempt: AttemptId, drone: DroneId, uploaded_digest: Digest) -> Artifact {
        let Self { target, accepted: Accepted { digest, size, at, .. } } = self;
        Artifact { target, digest, uploaded_digest, size, attempt, drone, received_at: at }
    }
}

/// Takes package files in.
pub struct Receiving {
    incoming: Incoming,
    store: Store,
    entries: EntryBook,
    key: Option<OpenPgpKey>,
    limits: Limits,
    /// What was taken and the engine has not been told of. Noted beside the uploads for a
    /// restart; where the note is lost the drone is asked to send the file again.
    taken: Mutex<BTreeMap<(AttemptId, Digest), Taken>>,
    turns: [tokio::sync::Mutex<()>; TURNS],
    at_once: Semaphore,
    /// Uploads that are looked at while they come. Further ones are looked at when they are
    /// whole, so a slow connection holds nobody up.
    alongside: Arc<Semaphore>,
}

impl Receiving {
    /// Uses these directories, and `key` for signing. What was taken before a restart is still
    /// taken.
    #[must_use]
    pub fn new(
        incoming: Incoming,
        store: Store,
        entries: EntryBook,
        key: Option<OpenPgpKey>,
        limits: Limits,
    ) -> Self {
        Self {
            taken: Mutex::new(noted(&incoming, &store)),
            incoming,
            store,
            entries,
            key,
            limits,
            turns: std::array::from_fn(|_| tokio::sync::Mutex::new(())),
            at_once: Semaphore::new(AT_ONCE),
            alongside: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Unfinished uploads.
    #[must_use]
    pub fn incoming(&self) -> &Incoming {
        &self.incoming
    }

    /// The key that signs, if signing is on.
    #[must_use]
    pub fn key_view(&self) -> Option<KeyView> {
        let key = self.key.as_ref()?;
        let public_key = match key.public_armored() {
            Ok(text) => text,
            Err(error) => {
                tracing::error!(%error, "the public key cannot be written");
                return None;
            }
        };
        Some(KeyView { fingerprint: key.fingerprint(), public_key })
    }

    /// Waits until nobody else takes or reports files of this attempt.
    pub async fn turn(&self, attempt: AttemptId) -> tokio::sync::MutexGuard<'_, ()> {
        self.turns[(attempt.0 % TURNS as u64) as usize].lock().await
    }

    /// Looks at an upload while it comes, if there is room for that.
    #[must_use]
    pub fn look_alongside(&self, build_time: TimeMs) -> Option<Alongside> {
        let permit = self.alongside.clone().try_acquire_owned().ok()?;
        Some(Alongside::start(self.limits, build_time, permit))
    }

    /// Whether this file of an attempt was taken already.
    #[must_use]
    pub fn has_taken(&self, attempt: AttemptId, digest: Digest) -> bool {
        self.find(attempt, digest).is_some()
    }

    /// Takes an uploaded file, which must be one of `candidates`: checks, signs, stores and
    /// indexes it. `examined` is what was found while it came, if it was looked at then;
    /// `build_time` is what it gets otherwise.
    ///
    /// # Errors
    /// It is none of them, is not whole, or the disk fails. A file that is at fault is
    /// removed.
    pub async fn take(
        self: &Arc<Self>,
        attempt: AttemptId,
        digest: Digest,
        candidates: Vec<Target>,
        examined: Option<Result<Gpkg, IntakeError>>,
        build_time: TimeMs,
    ) -> Result<(), ReceiveError> {
        if self.find(attempt, digest).is_some_and(|taken| candidates.contains(&taken.target)) {
            return Ok(());
        }
        let _permit = self.at_once.acquire().await;
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.take_now(attempt, digest, &candidates, examined, build_time))
            .await?
    }

    fn take_now(
        &self,
        attempt: AttemptId,
        digest: Digest,
        candidates: &[Target],
        examined: Option<Result<Gpkg, IntakeError>>,
        build_time: TimeMs,
    ) -> Result<(), ReceiveError> {
        let upload = match self.incoming.status(attempt, digest) {
            Ok(upload) if upload.is_complete() => upload,
            Ok(_) | Err(UploadError::Unknown) => return Err(ReceiveError::NotUploaded(digest)),
            Err(error) => return Err(error.into()),
        };
        let acceptance = Acceptance {
            limits: &self.limits,
            key: self.key.as_ref(),
            store: &self.store,
            entries: &self.entries,
        };
        match acceptance.accept(&upload.path, examined, candidates, digest, build_time) {
            Ok((target, accepted)) => {
                let taken = Taken { target: target.clone(), accepted };
                let note = serde_json::to_string(&taken).map_err(|error| error.to_string());
                let noted = note.and_then(|note| {
                    let noted = self.incoming.note_taken(attempt, digest, upload.size, &note);
                    noted.map_err(|error| error.to_string())
                });
                if let Err(error) = noted {
                    tracing::warn!(%attempt, %error, "a restart before the report will ask for this file again");
                }
                self.taken().insert((attempt, digest), taken);
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

    /// The artifacts that an attempt brought, in the order of its targets.
    ///
    /// # Errors
    /// A file is not there or not what was asked for, or a disk fails.
    pub async fn artifacts(
        self: &Arc<Self>,
        attempt: AttemptId,
        drone: DroneId,
        files: Vec<(Digest, Target)>,
        build_time: TimeMs,
    ) -> Result<Vec<Artifact>, ReceiveError> {
        let mut artifacts = Vec::with_capacity(files.len());
        for (uploaded_digest, target) in files {
            self.take(attempt, uploaded_digest, vec![target.clone()], None, build_time).await?;
            let taken = self.find(attempt, uploaded_digest);
            let taken = taken.ok_or(ReceiveError::NotUploaded(uploaded_digest))?;
            artifacts.push(Taken { target, ..taken }.artifact(attempt, drone, uploaded_digest));
        }
        Ok(artifacts)
    }

    /// The stored packages that install the same paths as these. `known` is what the engine
    /// knows, and is asked for last: what it has not been told of is compared, too, so that of
    /// two that arrive together the later sees the earlier.
    ///
    /// # Errors
    /// What has arrived cannot be read.
    pub async fn collisions(
        self: &Arc<Self>,
        drone: DroneId,
        arrived: &[Artifact],
        known: impl FnOnce() -> Vec<Artifact>,
    ) -> Result<Vec<Collision>, ReceiveError> {
        // Which drone brings the others does not matter here.
        let untold =
            |(&(attempt, digest), taken): (&_, &Taken)| taken.clone().artifact(attempt, drone, digest);
        let untold: Vec<Artifact> = self.taken().iter().map(untold).collect();
        let mut others = known();
        let is_known: BTreeSet<Digest> = others.iter().map(|other| other.digest).collect();
        others.extend(untold.into_iter().filter(|other| !is_known.contains(&other.digest)));
        let (this, arrived) = (self.clone(), arrived.to_vec());
        let found = tokio::task::spawn_blocking(move || {
            collisions::find(&this.entries, &this.store, &arrived, others)
        });
        found.await?.map_err(|error| AcceptError::Failed(error.to_string()).into())
    }

    /// Which libraries of these, which one attempt built, are not there when they run, in one
    /// line.
    ///
    /// # Errors
    /// A stored package cannot be read.
    pub async fn unprovided(
        self: &Arc<Self>,
        arrived: &[Artifact],
        around: Surroundings,
    ) -> Result<Option<String>, ReceiveError> {
        let prebuilt = arrived.iter().any(|artifact| {
            let taken = self.find(artifact.attempt, artifact.uploaded_digest);
            taken.is_some_and(|taken| taken.accepted.prebuilt)
        });
        let (this, arrived) = (self.clone(), arrived.to_vec());
        let found = tokio::task::spawn_blocking(move || {
            sonames::unprovided(&this.entries, &this.store, &arrived, prebuilt, &around)
        });
        found.await?.map_err(|error| AcceptError::Failed(error.to_string()).into())
    }

    /// Why these do not fit into an index of at most `limit` bytes that has all of `others`, in
    /// one line, if they do not.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn breaks_index(
        self: &Arc<Self>,
        arrived: &[Artifact],
        others: BTreeSet<Digest>,
        limit: u64,
    ) -> Result<Option<String>, ReceiveError> {
        let (this, arrived) = (self.clone(), arrived.to_vec());
        let sizes = tokio::task::spawn_blocking(move || {
            let own: BTreeSet<Digest> = arrived.iter().map(|artifact| artifact.digest).collect();
            let others = this.entries.size(others.difference(&own).copied())?;
            Ok::<_, DiskError>((this.entries.size(own)?, others))
        });
        let (own, others) = sizes.await?.map_err(AcceptError::from)?;
        Ok((own + others > limit).then(|| {
            format!(
                "its {own} bytes of metadata do not fit into the index of its profile, which has {others} of \
                 the {limit} bytes of `index_bytes` in `[limits]`"
            )
        }))
    }

    /// Artifacts that are stored and that the engine has not been told of.
    #[must_use]
    pub fn untold(&self) -> BTreeSet<Digest> {
        self.taken().values().map(|taken| taken.accepted.digest).collect()
    }

    /// Forgets what was taken for attempts that cannot report it any more.
    pub fn retain(&self, open: impl Fn(AttemptId) -> bool) {
        self.taken().retain(|(attempt, _), _| open(*attempt));
    }

    /// Drops everything that an attempt uploaded; what was received is in the store.
    pub async fn forget(self: &Arc<Self>, attempt: AttemptId) {
        self.taken().retain(|(of, _), _| *of != attempt);
        let this = self.clone();
        let removed = tokio::task::spawn_blocking(move || this.incoming.remove_attempt(attempt)).await;
        let removed = removed.map_err(|error| error.to_string());
        if let Err(error) =
            removed.and_then(|removed: Result<(), DiskError>| removed.map_err(|e| e.to_string()))
        {
            // It only costs space, and the next sweep tries again.
            tracing::warn!(%attempt, %error, "an upload that is no longer needed is left over");
        }
    }

    fn find(&self, attempt: AttemptId, digest: Digest) -> Option<Taken> {
        self.taken().get(&(attempt, digest)).cloned()
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<(AttemptId, Digest), Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the notes beside the uploads say, where the store has what they speak of.
fn noted(incoming: &Incoming, store: &Store) -> BTreeMap<(AttemptId, Digest), Taken> {
    let uploads = incoming.list().unwrap_or_else(|error| {
        tracing::warn!(%error, "what was taken before is not known; drones are asked for it again");
        Vec::new()
    });
    let mut taken = BTreeMap::new();
    for upload in uploads.into_iter().filter(|upload| upload.taken) {
        let text = std::fs::read_to_string(&upload.path).unwrap_or_default();
        match serde_json::from_str::<Taken>(&text) {
            Ok(note) if store.size(note.accepted.digest).ok().flatten() == Some(note.accepted.size) => {
                taken.insert((upload.attempt, upload.digest), note);
            }
            _ => tracing::warn!(note = %upload.path.display(), "a file that was taken is asked for again"),
        }
    }
    taken
}

/// The files that an attempt must bring, with its build ids.
///
/// # Errors
/// There is no such attempt, it builds no package, or its package is gone.
pub fn targets(swarm: &Swarm, attempt: AttemptId) -> Result<Vec<Target>, Refusal> {
    let record = swarm.attempts.get(&attempt).ok_or(Refusal::UnknownAttempt(attempt))?;
    let Job::Build(package) = record.job else {
        return Err(Refusal::Invalid(format!("attempt {attempt} builds no package and brings no files")));
    };
    let package = swarm.packages.get(&package).ok_or(Refusal::UnknownPackage(package))?;
    let mut targets = package.targets.clone();
    for (target, &build_id) in targets.iter_mut().zip(&record.build_ids) {
        target.build_id = build_id;
    }
    Ok(targets)
}
