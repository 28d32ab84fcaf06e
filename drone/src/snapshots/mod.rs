//! Snapshots, fetched once for each run and kept unpacked.
//!
//! Hardly any file of a repository changes from day to day. Of a snapshot that the drone has the
//! like of it fetches the difference alone, and keeps what differs as a layer over that one. The
//! archives of both, merged, are the new one's, so its digest proves the result, whatever came over
//! the network. If anything speaks against that the whole snapshot is fetched.

mod kept;
mod seal;

use crate::download::{self, Broken, PAUSES_S};
use kept::{Hold, Kept};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use swarm_common::{
    client::{Client, ClientError},
    digest::Digest,
    format::snapshot::{MAX_BYTES, SnapshotError},
    state::FailureClass,
};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Why a snapshot cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It did not arrive, or not as what it should be.
    #[error("snapshot {} cannot be fetched: {source}", digest.short())]
    Remote {
        /// Which.
        digest: Digest,
        /// Why.
        source: ClientError,
    },
    /// What arrived is not that snapshot.
    #[error("snapshot {} cannot be used: {source}", digest.short())]
    Unusable {
        /// Which.
        digest: Digest,
        /// Why.
        source: SnapshotError,
    },
    /// This machine cannot keep it.
    #[error("snapshot {} cannot be kept: {source}", digest.short())]
    Local {
        /// Which.
        digest: Digest,
        /// What the system said.
        source: io::Error,
    },
}

impl FetchError {
    /// Whose fault it is.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            // The archive was on our disk when it was unpacked, so an error is of our disk,
            // but for an archive that cannot be decompressed.
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

/// The cache.
#[derive(Debug)]
pub struct Snapshots {
    kept: Kept,
    /// Whether builds take a snapshot only as one directory.
    whole: bool,
    /// One fetch at a time.
    fetching: Arc<Mutex<()>>,
}

/// Held until what was begun on another thread has ended, which goes on if the attempt is cancelled.
type Turn = Arc<OwnedMutexGuard<()>>;

/// A snapshot in use; its directories stay as long as this is kept.
#[derive(Debug)]
pub struct Snapshot {
    own: PathBuf,
    layers: Vec<PathBuf>,
    _hold: Hold,
}

impl Snapshot {
    /// Where its manifest and its `etc` are; all of it, if it has no layers.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.own
    }

    /// The directories that are laid over one another to have all of it, the lowest first; none if
    /// it is one directory.
    #[must_use]
    pub fn layers(&self) -> &[PathBuf] {
        &self.layers
    }
}

impl Snapshots {
    /// Opens the cache and removes what an earlier start left unfinished in it. If `whole` is
    /// set no snapshot is given in layers.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub fn open(dir: &Path, whole: bool) -> io::Result<Self> {
        Ok(Self { kept: Kept::open(dir)?, whole, fetching: Arc::default() })
    }

    /// A snapshot, fetched if need be.
    ///
    /// # Errors
    /// It cannot be had.
    pub async fn get(&self, client: &Client, digest: Digest) -> Result<Snapshot, FetchError> {
        // First of all, so that no other attempt removes it meanwhile.
        let hold = self.kept.hold(digest);
        let mut pauses = PAUSES_S.iter();
        let (chain, turn) = loop {
            let turn = Arc::new(Arc::clone(&self.fetching).lock_owned().await);
            match (self.chain(client, digest, &turn).await, pauses.next()) {
                (Ok(chain), _) => break (chain, turn),
                (Err(error), Some(&pause)) if error.is_transient() => {
                    tracing::warn!(%error, "gone on with in {pause} s");
                    drop(turn);
                    tokio::time::sleep(Duration::from_secs(pause)).await;
                }
                (Err(error), _) => return Err(error),
            }
        };
        let kept = self.kept.clone();
        // Nobody waits for it but who fetches the next one.
        tokio::task::spawn_blocking(move || {
            kept.touch_and_sweep(digest);
            drop(turn);
        });
        let (own, layers) = self.kept.places(digest, &chain);
        Ok(Snapshot { own, layers, _hold: hold })
    }

    /// The snapshots that this one is made of, the lowest first; fetched, if it is not there.
    async fn chain(&self, client: &Client, digest: Digest, turn: &Turn) -> Result<Vec<Digest>, FetchError> {
        if let Some(chain) = self.find(digest, turn).await? {
            return Ok(chain);
        }
        let candidates = if self.whole { Vec::new() } else { self.kept.candidates() };
        for known in candidates {
            let Some(below) = self.find(known, turn).await? else { continue };
            match self.bring(client, digest, &below, turn).await {
                Ok(()) => return Ok([below, vec![digest]].concat()),
                Err(FetchError::Remote { source, .. }) if source.status() == Some(404) => {}
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "not from the difference to {}; the whole is fetched", known.short());
                    break;
                }
            }
        }
        self.bring(client, digest, &[], turn).await?;
        Ok(vec![digest])
    }

    async fn find(&self, digest: Digest, turn: &Turn) -> Result<Option<Vec<Digest>>, FetchError> {
        let whole = self.whole;
        let found = self.blocking(turn, move |kept| kept.find(digest)).await;
        let found = found.and_then(|found| found).map_err(|source| FetchError::Local { digest, source })?;
        Ok(found.filter(|chain| !whole || chain.len() == 1))
    }

    /// Fetches what is missing of an archive and unpacks it: the whole snapshot, or its difference
    /// to the last of `below`. If it comes to nothing with what was there before, all of it is fetched.
    async fn bring(
        &self,
        client: &Client,
        digest: Digest,
        below: &[Digest],
        turn: &Turn,
    ) -> Result<(), FetchError> {
        let archive = self.kept.partial(digest, below.last().copied());
        let there = fs::metadata(&archive).map_or(0, |found| found.len());
        match self.bring_from(client, digest, below, there, &archive, turn).await {
            Err(FetchError::Unusable { .. }) if there > 0 => {
                tracing::warn!(snapshot = %digest, "what was there of a snapshot does not fit; it is fetched anew");
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
                (self.kept.most_of_difference(below), client.snapshot_since(digest, known, first).await)
            }
            None => (MAX_BYTES, client.snapshot(digest, first).await),
        };
        match asked {
            // What there is may be all of it.
            Err(error) if error.status() == Some(416) && first > 0 => {}
            Err(source) => return Err(FetchError::Remote { digest, source }),
            Ok(stream) => {
                let received = download::receive(stream, archive, first, most).await;
                received.map_err(|broken| match broken {
                    Broken::Remote(source) => FetchError::Remote { digest, source },
                    Broken::Local(source) => local(source),
                    Broken::TooLarge => {
                        let source = SnapshotError::TooLarge { what: "bytes", limit: most };
                        FetchError::Unusable { digest, source }
                    }
                })?;
            }
        }
        let (archive, below) = (archive.to_owned(), below.to_owned());
        let put = self.blocking(turn, move |kept| kept.put(&archive, digest, &below)).await;
        put.map_err(local)?
    }

    async fn blocking<T: Send + 'static>(
        &self,
        turn: &Turn,
        work: impl FnOnce(&Kept) -> T + Send + 'static,
    ) -> io::Result<T> {
        let (kept, turn) = (self.kept.clone(), Arc::clone(turn));
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&kept)
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
