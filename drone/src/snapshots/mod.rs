//! Cache of snapshots, which are downloaded once and stored unpacked.
//!
//! Few files of a repository change from day to day. If the drone has a similar snapshot, it
//! downloads only the difference and stores it as a layer. Merging the archives of both must give the
//! archive of the new snapshot, so its digest verifies the result. If that fails, the complete
//! snapshot is downloaded.

mod cache;
mod seal;

use crate::download::{self, DownloadError, is_tried_again};
use cache::{SnapshotCache, SnapshotGuard};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};
use swarm_client::{Client, ClientError, Patience};
use swarm_common::{digest::Digest, state::FailureClass};
use swarm_formats::snapshot::{MAX_BYTES, SnapshotError};
use tokio::sync::{Mutex, OwnedMutexGuard};

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("cannot download snapshot {}: {source}", digest.short())]
    Remote { digest: Digest, source: ClientError },
    /// The downloaded file is not that snapshot.
    #[error("cannot use snapshot {}: {source}", digest.short())]
    Unusable { digest: Digest, source: SnapshotError },
    /// The snapshot cannot be stored on this machine.
    #[error("cannot store snapshot {}: {source}", digest.short())]
    Local { digest: Digest, source: io::Error },
}

impl FetchError {
    /// The class of a failure caused by this error.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            // The archive was on our disk when it was unpacked, so I/O errors are local, except those of
            // decompression.
            Self::Unusable { source: SnapshotError::Io { source, .. }, .. }
                if download::is_disks(source.kind()) =>
            {
                FailureClass::Drone
            }
            Self::Local { .. } => FailureClass::Drone,
            Self::Remote { .. } | Self::Unusable { .. } => FailureClass::Infra,
        }
    }

    fn is_transient(&self) -> bool {
        matches!(self, Self::Remote { source, .. } if source.is_transient())
    }
}

#[derive(Debug)]
pub struct Snapshots {
    cache: SnapshotCache,
    /// Builds can only use snapshots that are a single directory.
    whole: bool,
    /// Held during a download, so that only one runs at a time.
    fetching: Arc<Mutex<()>>,
}

/// The lock of one download. Blocking tasks keep a clone, because they continue after the attempt is
/// cancelled.
type Turn = Arc<OwnedMutexGuard<()>>;

/// A snapshot in use. It is not removed until this value is dropped.
#[derive(Debug)]
pub struct Snapshot {
    own: PathBuf,
    layers: Vec<PathBuf>,
    _hold: SnapshotGuard,
}

impl Snapshot {
    /// The directory with its manifest and `etc`; the complete snapshot if it has no layers.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.own
    }

    /// The layers to stack for the complete snapshot, lowest first; empty if it is a single
    /// directory.
    #[must_use]
    pub fn layers(&self) -> &[PathBuf] {
        &self.layers
    }
}

impl Snapshots {
    /// Opens the cache and removes unfinished files of an earlier start. With `whole`, snapshots are never
    /// returned as layers.
    ///
    /// # Errors
    /// The directory cannot be created or read.
    pub fn open(dir: &Path, whole: bool) -> io::Result<Self> {
        Ok(Self { cache: SnapshotCache::open(dir)?, whole, fetching: Arc::default() })
    }

    /// Returns a snapshot, downloading it if necessary.
    ///
    /// # Errors
    /// The snapshot cannot be downloaded, verified or stored.
    pub async fn get(&self, client: &Client, digest: Digest) -> Result<Snapshot, FetchError> {
        // Taken first, so that no other attempt removes the snapshot meanwhile.
        let hold = self.cache.hold(digest);
        let mut tries = Patience::DOWNLOAD.tries();
        let (chain, turn) = loop {
            let turn = Arc::new(Arc::clone(&self.fetching).lock_owned().await);
            let error = match self.chain(client, digest, &turn).await {
                Ok(chain) => break (chain, turn),
                Err(error) => error,
            };
            drop(turn);
            if let FetchError::Remote { source, .. } = &error
                && is_tried_again(source, &mut tries).await
            {
                continue;
            }
            return Err(error);
        };
        let cache = self.cache.clone();
        // Only the next download waits for this task.
        tokio::task::spawn_blocking(move || {
            cache.touch_and_sweep(digest);
            drop(turn);
        });
        let (own, layers) = self.cache.places(digest, &chain);
        Ok(Snapshot { own, layers, _hold: hold })
    }

    /// Returns the layers of a snapshot, lowest first, downloading it if necessary.
    async fn chain(&self, client: &Client, digest: Digest, turn: &Turn) -> Result<Vec<Digest>, FetchError> {
        if let Some(chain) = self.find(digest, turn).await? {
            return Ok(chain);
        }
        let candidates = if self.whole { Vec::new() } else { self.cache.candidates() };
        for known in candidates {
            let Some(below) = self.find(known, turn).await? else { continue };
            match self.bring(client, digest, &below, turn).await {
                Ok(()) => return Ok([below, vec![digest]].concat()),
                Err(FetchError::Remote { source, .. }) if source.status() == Some(404) => {}
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "cannot use the difference to {}, downloading the whole snapshot", known.short());
                    break;
                }
            }
        }
        self.bring(client, digest, &[], turn).await?;
        Ok(vec![digest])
    }

    async fn find(&self, digest: Digest, turn: &Turn) -> Result<Option<Vec<Digest>>, FetchError> {
        let whole = self.whole;
        let found = self.blocking(turn, move |cache| cache.find(digest)).await;
        let found = found.and_then(|found| found).map_err(|source| FetchError::Local { digest, source })?;
        Ok(found.filter(|chain| !whole || chain.len() == 1))
    }

    /// Downloads the missing part of an archive and unpacks it: the complete snapshot, or its difference to
    /// the last of `below`. If the partial download turns out to be unusable, starts again from the first
    /// byte.
    async fn bring(
        &self,
        client: &Client,
        digest: Digest,
        below: &[Digest],
        turn: &Turn,
    ) -> Result<(), FetchError> {
        let archive = self.cache.partial(digest, below.last().copied());
        let there = fs::metadata(&archive).map_or(0, |found| found.len());
        match self.bring_from(client, digest, below, there, &archive, turn).await {
            Err(FetchError::Unusable { .. }) if there > 0 => {
                tracing::warn!(snapshot = %digest, "the partial download of a snapshot does not match, \
                    downloading it again");
                self.bring_from(client, digest, below, 0, &archive, turn).await
            }
            brought => brought,
        }
    }

    async fn bring_from(
        &self,
        client: &Client,
        digest: Digest,
        below: &[Digest],
        first: u64,
        archive: &Path,
        turn: &Turn,
    ) -> Result<(), FetchError> {
        let local = |source| FetchError::Local { digest, source };
        let (most, asked) = match below.last() {
            Some(&known) => {
                (self.cache.most_of_difference(below), client.snapshot_since(digest, known, first).await)
            }
            None => (MAX_BYTES, client.snapshot(digest, first).await),
        };
        match asked {
            // The partial download may already be complete.
            Err(error) if error.status() == Some(416) && first > 0 => {}
            Err(source) => return Err(FetchError::Remote { digest, source }),
            Ok(stream) => {
                let received = download::receive(stream, archive, first, most).await;
                received.map_err(|broken| match broken {
                    DownloadError::Remote(source) => FetchError::Remote { digest, source },
                    DownloadError::Local(source) => local(source),
                    DownloadError::TooLarge => {
                        let source = SnapshotError::TooLarge { what: "bytes", limit: most };
                        FetchError::Unusable { digest, source }
                    }
                })?;
            }
        }
        let (archive, below) = (archive.to_owned(), below.to_owned());
        let put = self.blocking(turn, move |cache| cache.put(&archive, digest, &below)).await;
        put.map_err(local)?
    }

    async fn blocking<T: Send + 'static>(
        &self,
        turn: &Turn,
        work: impl FnOnce(&SnapshotCache) -> T + Send + 'static,
    ) -> io::Result<T> {
        let (cache, turn) = (self.cache.clone(), Arc::clone(turn));
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&cache)
        });
        done.await.map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_the_drones_fault_and_a_broken_archive_is_not() {
        let digest = Digest::of(b"");
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(FetchError::Local { digest, source: full() }.class(), FailureClass::Drone);
        let io = |source| SnapshotError::Io { what: "reading".into(), source };
        let unusable = |source| FetchError::Unusable { digest, source: io(source) };
        assert_eq!(unusable(full()).class(), FailureClass::Drone);
        assert_eq!(unusable(io::Error::other("no zstd frame")).class(), FailureClass::Infra);
        let cut = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(unusable(cut).class(), FailureClass::Infra);
    }
}
