//! The bases that a drone keeps: images of root file systems, fetched once and unpacked once.
//!
//! What came of an image stays when the connection breaks, and the rest is fetched after it. It
//! is unpacked aside and proved by its digest, and kept as layers are, by the same rules: synced,
//! sealed, renamed, looked over when it is first used after a start, removed when the budget is used
//! up and nothing builds in it.

use crate::{
    buildroot::layers::{Kept, Layer, Layers},
    download::{self, Broken, PARTIAL, PAUSES_S},
};
use std::{
    fs,
    io::{self, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use swarm_common::{
    client::{Client, ClientError},
    digest::Digest,
    format::image::{self, ImageError},
    state::FailureClass,
    wire::base::Image,
};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Why there is no base.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// The orchestrator did not give it.
    #[error("image {} cannot be fetched: {source}", digest.short())]
    Remote {
        /// Which.
        digest: Digest,
        /// Why.
        source: ClientError,
    },
    /// What came is not that image.
    #[error(
        "image {} cannot be used: {source}. If that happens again the orchestrator's copy is damaged: remove \
         images/{digest}.tar.zst in its artifact_dir, and send it again with `swarmctl base update`", digest.short()
    )]
    Unusable {
        /// Which.
        digest: Digest,
        /// Why.
        source: ImageError,
    },
    /// The disk is too small.
    #[error(
        "image {} takes {} MiB, packed and unpacked, and the disk of {} has {} MiB left: free some space, or set \
         builder.cache_dir to a larger disk", digest.short(), needed.div_ceil(1 << 20), dir.display(), free >> 20
    )]
    NoSpace {
        /// Which.
        digest: Digest,
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that there are.
        free: u64,
        /// Where.
        dir: PathBuf,
    },
    /// This machine cannot keep it.
    #[error("image {} cannot be kept: {source}", digest.short())]
    Local {
        /// Which.
        digest: Digest,
        /// What the system said.
        source: io::Error,
    },
}

impl BaseError {
    /// Whose fault it is.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Remote { .. } | Self::Unusable { .. } => FailureClass::Infra,
            Self::NoSpace { .. } | Self::Local { .. } => FailureClass::Drone,
        }
    }

    fn is_transient(&self) -> bool {
        matches!(self, Self::Remote { source, .. } if source.is_transient())
    }
}

/// The bases that are kept.
#[derive(Debug)]
pub struct Bases {
    /// What was fetched of images.
    archives: PathBuf,
    unpacked: Layers,
    /// One fetch at a time.
    fetching: Arc<Mutex<()>>,
}

impl Bases {
    /// Opens what is kept below `cache`, and removes what an earlier start was unpacking. What
    /// it was fetching stays.
    ///
    /// # Errors
    /// The directories cannot be made or read.
    pub fn open(cache: &Path, budget_bytes: u64) -> io::Result<Self> {
        let archives = cache.join("images");
        fs::create_dir_all(&archives)?;
        let unpacked = Layers::open(&cache.join("bases"), budget_bytes)?;
        Ok(Self { archives, unpacked, fetching: Arc::default() })
    }

    /// Where they are kept unpacked, by keys that are digests of their content.
    #[must_use]
    pub fn unpacked(&self) -> Layers {
        self.unpacked.clone()
    }

    /// The root file system of an image, fetched if need be. It stays as long as it is held.
    ///
    /// # Errors
    /// It cannot be had.
    pub async fn get(&self, client: &Client, image: &Image) -> Result<Layer, BaseError> {
        let mut pauses = PAUSES_S.iter();
        loop {
            // Held until the unpacking has ended, which goes on if the attempt is cancelled.
            let turn = Arc::new(Arc::clone(&self.fetching).lock_owned().await);
            if let Some(found) = self.find(image.digest).await? {
                return Ok(found);
            }
            match (self.fetch(client, image, &turn).await, pauses.next()) {
                (Err(error), Some(&pause)) if error.is_transient() => {
                    tracing::warn!(%error, "gone on with in {pause} s");
                    drop(turn);
                    tokio::time::sleep(Duration::from_secs(pause)).await;
                }
                (fetched, _) => return fetched,
            }
        }
    }

    async fn find(&self, digest: Digest) -> Result<Option<Layer>, BaseError> {
        let unpacked = self.unpacked.clone();
        let found = tokio::task::spawn_blocking(move || unpacked.get(digest)).await;
        let found = found.map_err(io::Error::other).and_then(|found| found);
        Ok(found.map_err(|source| BaseError::Local { digest, source })?.and_then(as_base))
    }

    /// Fetches what is missing of an image. If it comes to nothing with what was there before,
    /// all of it is fetched.
    async fn fetch(
        &self,
        client: &Client,
        image: &Image,
        turn: &Arc<OwnedMutexGuard<()>>,
    ) -> Result<Layer, BaseError> {
        let archive = self.archive(image.digest);
        let there = fs::metadata(&archive).map_or(0, |found| found.len());
        let fetched = self.fetch_from(client, image, there, turn).await;
        let unfit = match &fetched {
            Err(BaseError::Unusable { .. }) => true,
            // There is less of it than we have.
            Err(BaseError::Remote { source, .. }) => source.status() == Some(416),
            _ => false,
        };
        if !unfit || there == 0 {
            return fetched;
        }
        tracing::warn!(image = %image.digest, "what was there of an image does not fit; it is fetched anew");
        self.fetch_from(client, image, 0, turn).await
    }

    async fn fetch_from(
        &self,
        client: &Client,
        image: &Image,
        first: u64,
        turn: &Arc<OwnedMutexGuard<()>>,
    ) -> Result<Layer, BaseError> {
        let digest = image.digest;
        let local = |source| BaseError::Local { digest, source };
        let remote = |source| BaseError::Remote { digest, source };
        let archive = self.archive(digest);
        let missing = image.size.saturating_sub(first);
        let space = rustix::fs::statvfs(&self.archives).map_err(|error| local(error.into()))?;
        let (needed, free) =
            (missing.saturating_add(image.unpacked_bytes), space.f_bavail.saturating_mul(space.f_frsize));
        if needed > free {
            return Err(BaseError::NoSpace { digest, needed, free, dir: self.archives.clone() });
        }
        if missing > 0 {
            tracing::info!(image = %digest, bytes = missing, "a base is fetched");
            let stream = client.image(digest, first).await.map_err(remote)?;
            let received = download::receive(stream, &archive, first, image.size).await;
            received.map_err(|broken| match broken {
                Broken::Remote(source) => remote(source),
                Broken::Local(source) => local(source),
                Broken::TooLarge => {
                    let source = ImageError::TooLarge { what: "bytes", limit: image.size };
                    BaseError::Unusable { digest, source }
                }
            })?;
        }
        let (unpacked, turn) = (self.unpacked.clone(), Arc::clone(turn));
        let kept = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            unpack(&unpacked, &archive, digest)
        });
        kept.await.map_err(|error| local(io::Error::other(error)))?
    }

    fn archive(&self, digest: Digest) -> PathBuf {
        self.archives.join(digest.to_string()).with_extension(PARTIAL)
    }
}

/// Unpacks and keeps an image; of one that cannot be used nothing is left.
fn unpack(unpacked: &Layers, archive: &Path, digest: Digest) -> Result<Layer, BaseError> {
    let local = |source| BaseError::Local { digest, source };
    let file = fs::File::open(archive).map_err(local)?;
    let files = unpacked.begin(digest).map_err(local)?;
    if let Err(error) = image::unpack(BufReader::with_capacity(256 << 10, file), digest, &files) {
        unpacked.give_up(digest).map_err(local)?;
        return Err(match error {
            // The archive was on our disk, so an error is of our disk, but for an archive that
            // cannot be decompressed.
            ImageError::Io { source, .. } if download::is_disks(source.kind()) => local(source),
            source => {
                fs::remove_file(archive).map_err(local)?;
                BaseError::Unusable { digest, source }
            }
        });
    }
    let kept = unpacked.keep(digest, true).map_err(local)?;
    fs::remove_file(archive).map_err(local)?;
    as_base(kept).ok_or_else(|| local(io::ErrorKind::NotFound.into()))
}

/// A base is always stacked.
fn as_base(kept: Kept) -> Option<Layer> {
    match kept {
        Kept::Layer(base) => Some(base),
        Kept::Ordered => None,
    }
}
