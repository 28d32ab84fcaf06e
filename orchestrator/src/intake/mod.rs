//! Takes uploaded files in: everything between the uploaded bytes ([`crate::intake::upload`]) and
//! the command that reports them to the engine.
//!
//! A file is checked, signed, stored and synced before the engine learns of it. If anything fails
//! in between, the drone repeats it: it keeps its file until its report is accepted.

pub mod accept;
pub mod alongside;
mod checks;
pub mod collisions;
pub mod identity;
mod nar;
mod noted;
pub mod sonames;
pub mod upload;
pub mod wanted;
mod writeback;

use crate::{
    intake::{
        accept::{AcceptError, Acceptance, Accepted},
        alongside::Alongside,
        upload::{Incoming, UploadError},
        wanted::Wanted,
    },
    nix::{
        archive::{self, NarFile},
        listings::Listings,
        upstream::Upstreams,
    },
    rejection::ExamineError,
    sign::OpenPgpKey,
    store::{Store, disk::DiskError, entries::EntryBook, sealed},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use swarm_common::{
    digest::Digest,
    format::gpkg::{Gpkg, Limits},
    id::{AttemptId, DroneId},
    time::TimeMs,
    wire::{artifact::Artifact, drone::Target, view::KeyView},
};
use tokio::sync::Semaphore;

/// Number of locks that all attempts share.
const TURNS: usize = 64;

/// How many packages are checked and signed at once; each keeps a processor busy.
const AT_ONCE: usize = 4;

/// Why a file of an attempt was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The file was rejected, or our disk or key failed.
    #[error(transparent)]
    Accept(#[from] AcceptError),
    /// The file was not uploaded, or only in part.
    #[error("file {0} was not uploaded: upload it, then report again")]
    NotUploaded(Digest),
    /// The upload cannot be read or removed.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// Examining the file takes so much memory that only one such file is examined at a time.
    #[error("it is large")]
    Large,
    /// An upstream cache cannot be asked whether it has what an archive refers to.
    #[error("{0}")]
    Upstream(String),
    /// A background task panicked.
    #[error("the task checking the package panicked: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

/// An accepted file, and the target that it was accepted for.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Taken {
    target: Target,
    accepted: Accepted,
}

impl Taken {
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

/// An examined file.
#[derive(Debug)]
pub enum Examined {
    /// A Portage package.
    Gpkg(Box<Result<Gpkg, ExamineError>>),
    /// A Nix archive.
    Nar(Box<Result<NarFile, ExamineError>>),
}

/// The directories of [`Intake`].
pub struct Places {
    /// Unfinished uploads.
    pub incoming: Incoming,
    /// Accepted files.
    pub store: Store,
    /// Index entries of packages.
    pub entries: EntryBook,
    /// Listings of archives.
    pub listings: Listings,
}

/// Accepts package files.
pub struct Intake {
    incoming: Incoming,
    store: Store,
    entries: EntryBook,
    key: Option<OpenPgpKey>,
    limits: Limits,
    /// Accepted files that the engine does not know yet. A note beside each upload restores this
    /// after a restart; if the note is lost, the drone is asked to send the file again.
    taken: Mutex<BTreeMap<(AttemptId, Digest), Taken>>,
    nars: Mutex<nar::Nars>,
    listings: Listings,
    upstreams: Arc<Upstreams>,
    turns: [tokio::sync::Mutex<()>; TURNS],
    at_once: Semaphore,
    /// Permits to examine an upload while it arrives. Without a permit it is examined once
    /// complete, so slow connections block nobody.
    alongside: Arc<Semaphore>,
    /// Held while a file that exceeds the modest limits is examined.
    large: tokio::sync::Mutex<()>,
}

impl Intake {
    /// Uses these directories, and `key` for signing. Restores files that were accepted before a
    /// restart.
    #[must_use]
    pub fn new(places: Places, key: Option<OpenPgpKey>, limits: Limits, upstreams: Arc<Upstreams>) -> Self {
        let Places { incoming, store, entries, listings } = places;
        Self {
            taken: Mutex::new(noted::noted(&incoming, &store)),
            nars: Mutex::default(),
            listings,
            upstreams,
            incoming,
            store,
            entries,
            key,
            limits,
            turns: std::array::from_fn(|_| tokio::sync::Mutex::new(())),
            at_once: Semaphore::new(AT_ONCE),
            alongside: Arc::new(Semaphore::new(AT_ONCE)),
            large: tokio::sync::Mutex::default(),
        }
    }

    /// The unfinished uploads.
    #[must_use]
    pub fn incoming(&self) -> &Incoming {
        &self.incoming
    }

    /// The signing key; `None` if signing is off.
    #[must_use]
    pub fn key_view(&self) -> Option<KeyView> {
        let key = self.key.as_ref()?;
        let public_key = match key.public_armored() {
            Ok(text) => text,
            Err(error) => {
                tracing::error!(%error, "cannot write the public key");
                return None;
            }
        };
        Some(KeyView { fingerprint: key.fingerprint(), public_key, nix: Vec::new() })
    }

    /// Waits for the lock of this attempt, to accept or report its files.
    pub async fn turn(&self, attempt: AttemptId) -> tokio::sync::MutexGuard<'_, ()> {
        self.turns[(attempt.0 % TURNS as u64) as usize].lock().await
    }

    /// Starts to examine an upload while it arrives, if a permit is free.
    #[must_use]
    pub fn look_alongside(&self, wanted: &Wanted, build_time: TimeMs) -> Option<Alongside<Examined>> {
        let permit = self.alongside.clone().try_acquire_owned().ok()?;
        let Some(known) = &wanted.nix else {
            let limits = self.limits.modest();
            let examine = move |pieces: &mut dyn Read| identity::examine(pieces, &limits, build_time);
            return Some(Alongside::start(permit, move |pieces| Examined::Gpkg(Box::new(examine(pieces)))));
        };
        // If the snapshot cannot be read, the complete file is examined, which reports it.
        let (sought, limits) = (self.sought(known).ok()?, self.nar_limits());
        let examine = move |pieces: &mut dyn Read| archive::examine(pieces, &limits, &sought);
        Some(Alongside::start(permit, move |pieces| Examined::Nar(Box::new(examine(pieces)))))
    }

    /// Whether this file of an attempt has been accepted.
    #[must_use]
    pub fn has_taken(&self, attempt: AttemptId, digest: Digest) -> bool {
        self.find(attempt, digest).is_some() || self.nars().has_verified(attempt, digest)
    }

    /// Checks, signs, stores and indexes an uploaded file, which must be one of those wanted; a Nix
    /// archive is only checked. `examined` is the result of examining it while it arrived; without one
    /// it is examined now and gets `build_time`.
    ///
    /// # Errors
    /// The file is incomplete, is none of the candidates, or the disk fails. A rejected file is
    /// removed.
    pub async fn take(
        self: &Arc<Self>,
        attempt: AttemptId,
        digest: Digest,
        wanted: Wanted,
        examined: Option<Examined>,
        build_time: TimeMs,
    ) -> Result<(), ReceiveError> {
        if let Some(known) = wanted.nix {
            let examined = match examined {
                Some(Examined::Nar(examined)) => Some(*examined),
                _ => None,
            };
            return self.verify_nar(attempt, digest, known, examined).await;
        }
        let examined = match examined {
            Some(Examined::Gpkg(examined)) => Some(*examined),
            _ => None,
        };
        if self.find(attempt, digest).is_some_and(|taken| wanted.targets.contains(&taken.target)) {
            return Ok(());
        }
        let _permit = self.at_once.acquire().await;
        let (this, first) = (self.clone(), wanted.clone());
        let modest = self.limits.modest();
        let take = move || this.take_now(attempt, digest, &first, examined, build_time, &modest);
        match tokio::task::spawn_blocking(take).await? {
            Err(ReceiveError::Large) => {}
            taken => return taken,
        }
        let _alone = self.large.lock().await;
        let this = self.clone();
        let take = move || this.take_now(attempt, digest, &wanted, None, build_time, &this.limits);
        tokio::task::spawn_blocking(take).await?
    }

    fn take_now(
        &self,
        attempt: AttemptId,
        digest: Digest,
        wanted: &Wanted,
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
        let acceptance = Acceptance { key: self.key.as_ref(), store: &self.store, entries: &self.entries };
        match acceptance.accept(&upload.path, examined, wanted, digest, build_time) {
            Ok((target, accepted)) => {
                let taken = Taken { target: target.clone().into(), accepted };
                let note = serde_json::to_string(&taken).map_err(|error| error.to_string());
                let noted = note.and_then(|note| {
                    let note = sealed::seal(&note);
                    let noted = self.incoming.note_taken(attempt, digest, upload.size, &note);
                    noted.map_err(|error| error.to_string())
                });
                if let Err(error) = noted {
                    tracing::warn!(%attempt, %error, "cannot record a received file; after a restart it \
                        must be uploaded again");
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

    /// The artifacts of an attempt, in the order of its targets.
    ///
    /// # Errors
    /// A file is missing or is not its target, or a disk fails.
    pub async fn artifacts(
        self: &Arc<Self>,
        attempt: AttemptId,
        drone: DroneId,
        digests: Vec<Digest>,
        wanted: Wanted,
        build_time: TimeMs,
    ) -> Result<Vec<Artifact>, ReceiveError> {
        let files = digests.into_iter().zip(wanted.targets.clone()).collect::<Vec<_>>();
        if let Some(known) = wanted.nix {
            return self.nar_artifacts(attempt, drone, files, known, build_time).await;
        }
        let mut artifacts = Vec::with_capacity(files.len());
        for (digest, target) in files {
            self.take(attempt, digest, wanted.only(target.clone()), None, build_time).await?;
            let taken = self.find(attempt, digest).ok_or(ReceiveError::NotUploaded(digest))?;
            // The drone's own copy of a package that got another build id is not that package.
            let uploaded_digest = if wanted.any_build_id { taken.accepted.digest } else { digest };
            artifacts.push(Taken { target, ..taken }.artifact(attempt, drone, uploaded_digest));
        }
        Ok(artifacts)
    }

    /// Stored artifacts that the engine does not know yet.
    #[must_use]
    pub fn untold(&self) -> BTreeSet<Digest> {
        let mut untold = self.untold_nars();
        untold.extend(self.taken().values().map(|taken| taken.accepted.digest));
        untold
    }

    /// Forgets accepted files of attempts that cannot report them any more.
    pub fn retain(&self, open: impl Fn(AttemptId) -> bool) {
        self.taken().retain(|(attempt, _), _| open(*attempt));
        self.nars().retain(open);
    }

    /// Removes all uploads of an attempt; accepted artifacts stay in the store.
    pub async fn forget(self: &Arc<Self>, attempt: AttemptId) {
        self.taken().retain(|(of, _), _| *of != attempt);
        self.nars().retain(|of| of != attempt);
        let this = self.clone();
        let removed = tokio::task::spawn_blocking(move || this.incoming.remove_attempt(attempt)).await;
        let removed = removed.map_err(|error| error.to_string());
        if let Err(error) =
            removed.and_then(|removed: Result<(), DiskError>| removed.map_err(|e| e.to_string()))
        {
            // This only costs space, and the next sweep tries again.
            tracing::warn!(%attempt, %error, "cannot remove an unneeded upload");
        }
    }

    fn find(&self, attempt: AttemptId, digest: Digest) -> Option<Taken> {
        self.taken().get(&(attempt, digest)).cloned()
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<(AttemptId, Digest), Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
