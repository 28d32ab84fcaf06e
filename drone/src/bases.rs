//! Cache of bases: root file systems from images, downloaded and unpacked once.
//!
//! An interrupted download is resumed. An image is unpacked into a temporary directory, verified by its
//! digest, and then stored like a layer: synced, sealed, renamed, checked on first use after a start, and
//! evicted when the budget is exceeded and no build uses it.

use crate::{
    buildroot::layers::{Kept, Layer, Layers},
    download::{self, DownloadError, PARTIAL, is_tried_again},
};
use std::{
    fs,
    io::{self, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
};
use swarm_client::{Client, ClientError, Patience};
use swarm_common::{digest::Digest, state::FailureClass, wire::base::Image};
use swarm_formats::image::{self, ImageError};
use tokio::sync::{Mutex, OwnedMutexGuard};

#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// The orchestrator did not deliver the image.
    #[error("cannot download image {}: {source}", digest.short())]
    Remote { digest: Digest, source: ClientError },
    /// The downloaded file is not that image.
    #[error(
        "cannot use image {}: {source}. If this repeats, the orchestrator's copy is damaged: remove \
         images/{digest}.tar.zst in its artifact_dir and upload it again with `swarmctl base update`", digest.short()
    )]
    Unusable { digest: Digest, source: ImageError },
    /// The disk is too small.
    #[error(
        "image {} needs {} MiB (packed and unpacked), but the disk of {} has only {} MiB free: free space, \
         or set builder.cache_dir to a larger disk", digest.short(), needed.div_ceil(1 << 20), dir.display(), free >> 20
    )]
    NoSpace {
        digest: Digest,
        /// Bytes needed for the compressed and the unpacked image.
        needed: u64,
        free: u64,
        dir: PathBuf,
    },
    /// The image cannot be stored on this machine.
    #[error("cannot store image {}: {source}", digest.short())]
    Local { digest: Digest, source: io::Error },
}

impl BaseError {
    /// The class of a failure caused by this error.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Remote { .. } | Self::Unusable { .. } => FailureClass::Infra,
            Self::NoSpace { .. } | Self::Local { .. } => FailureClass::Drone,
        }
    }
}

#[derive(Debug)]
pub struct Bases {
    /// Directory of images that are downloaded, completely or partly.
    archives: PathBuf,
    unpacked: Layers,
    /// Held while an image is downloaded and unpacked, so that there is only one at a time.
    fetching: Arc<Mutex<()>>,
}

impl Bases {
    /// Opens the cache below `cache`. Unfinished unpacking is removed; partial downloads are kept.
    ///
    /// # Errors
    /// The directories cannot be created or read.
    pub fn open(cache: &Path, budget_bytes: u64) -> io::Result<Self> {
        let archives = cache.join("images");
        fs::create_dir_all(&archives)?;
        let unpacked = Layers::open(&cache.join("bases"), budget_bytes)?;
        Ok(Self { archives, unpacked, fetching: Arc::default() })
    }

    /// The unpacked bases, by the digest of their content.
    #[must_use]
    pub fn unpacked(&self) -> Layers {
        self.unpacked.clone()
    }

    /// Returns the root file system of an image, downloading it if necessary. The base is not evicted while
    /// the returned layer exists.
    ///
    /// # Errors
    /// The image cannot be downloaded, verified or stored.
    pub async fn get(&self, client: &Client, image: &Image) -> Result<Layer, BaseError> {
        let mut tries = Patience::DOWNLOAD.tries();
        loop {
            // Held until unpacking has ended, because that continues even if the attempt is cancelled.
            let turn = Arc::new(Arc::clone(&self.fetching).lock_owned().await);
            if let Some(found) = self.find(image.digest).await? {
                return Ok(found);
            }
            let fetched = self.fetch(client, image, &turn).await;
            drop(turn);
            if let Err(BaseError::Remote { source, .. }) = &fetched
                && is_tried_again(source, &mut tries).await
            {
                continue;
            }
            return fetched;
        }
    }

    async fn find(&self, digest: Digest) -> Result<Option<Layer>, BaseError> {
        let unpacked = self.unpacked.clone();
        let found = tokio::task::spawn_blocking(move || unpacked.get(digest)).await;
        let found = found.map_err(io::Error::other).and_then(|found| found);
        Ok(found.map_err(|source| BaseError::Local { digest, source })?.and_then(Kept::layer))
    }

    /// Downloads the missing part of an image. If the partial download turns out to be unusable, starts again
    /// from the first byte.
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
            // The partial download is longer than the image.
            Err(BaseError::Remote { source, .. }) => source.status() == Some(416),
            _ => false,
        };
        if !unfit || there == 0 {
            return fetched;
        }
        tracing::warn!(image = %image.digest, "the partial download of an image does not match, \
            downloading it again");
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
            tracing::info!(image = %digest, bytes = missing, "downloading a base");
            let stream = client.image(digest, first).await.map_err(remote)?;
            let received = download::receive(stream, &archive, first, image.size).await;
            received.map_err(|broken| match broken {
                DownloadError::Remote(source) => remote(source),
                DownloadError::Local(source) => local(source),
                DownloadError::TooLarge => {
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

/// Unpacks and stores an image. Removes an unusable one.
fn unpack(unpacked: &Layers, archive: &Path, digest: Digest) -> Result<Layer, BaseError> {
    let local = |source| BaseError::Local { digest, source };
    let file = fs::File::open(archive).map_err(local)?;
    let files = unpacked.begin(digest).map_err(local)?;
    if let Err(error) = image::unpack(BufReader::with_capacity(256 << 10, file), digest, &files) {
        unpacked.give_up(digest).map_err(local)?;
        return Err(match error {
            // The archive is on our disk, so I/O errors are local, except those of decompression.
            ImageError::Io { source, .. } if download::is_disks(source.kind()) => local(source),
            source => {
                fs::remove_file(archive).map_err(local)?;
                BaseError::Unusable { digest, source }
            }
        });
    }
    let kept = unpacked.keep(digest, Some(&[])).map_err(local)?;
    fs::remove_file(archive).map_err(local)?;
    kept.layer().ok_or_else(|| local(io::ErrorKind::NotFound.into()))
}
