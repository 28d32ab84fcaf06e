//! Unpacked snapshots, by digest, so that a run is fetched once.
//!
//! A directory that has a digest for its name is whole and on disk: it gets that name last.
//! Everything else in the cache was left by a start that was cut off.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use swarm_common::{
    client::{Client, ClientError},
    digest::Digest,
    format::snapshot::{self, SnapshotError},
    state::FailureClass,
};
use tokio::{io::AsyncWriteExt, sync::Mutex};

/// Snapshots that are kept beside those in use.
const KEPT: usize = 3;

/// Waiting times before a fetch is tried again: an orchestrator that is restarted just
/// after it gave out work should not cost the attempt.
const PAUSES_S: [u64; 4] = [1, 2, 4, 8];

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
            Self::Unusable { source: SnapshotError::Io { source, .. }, .. } | Self::Local { source, .. }
                if !matches!(source.kind(), io::ErrorKind::Other | io::ErrorKind::UnexpectedEof) =>
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
    dir: PathBuf,
    /// One fetch at a time.
    fetching: Arc<Mutex<()>>,
    used: Arc<StdMutex<Used>>,
}

/// How many attempts have a snapshot's directory.
type Used = BTreeMap<PathBuf, usize>;

/// A snapshot in use; its directory stays as long as this is kept.
#[derive(Debug)]
pub struct Snapshot {
    dir: PathBuf,
    used: Arc<StdMutex<Used>>,
}

impl Snapshot {
    /// Where it is unpacked.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let mut used = locked(&self.used);
        if let Some(count) = used.get_mut(&self.dir) {
            *count -= 1;
            if *count == 0 {
                used.remove(&self.dir);
            }
        }
    }
}

fn locked(used: &StdMutex<Used>) -> MutexGuard<'_, Used> {
    used.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Snapshots {
    /// Opens the cache and removes what an earlier start left unfinished in it.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if digest_of(&entry).is_some() {
                continue;
            }
            let path = entry.path();
            let removed =
                if entry.file_type()?.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            if let Err(error) = removed {
                tracing::warn!(%error, path = %path.display(), "half a snapshot cannot be removed");
            }
        }
        Ok(Self { dir: dir.to_owned(), fetching: Arc::default(), used: Arc::default() })
    }

    /// A snapshot, fetched if need be.
    ///
    /// # Errors
    /// It cannot be had.
    pub async fn get(&self, client: &Client, digest: Digest) -> Result<Snapshot, FetchError> {
        // First of all, so that no other attempt removes it meanwhile.
        let snapshot = self.hold(self.dir.join(digest.to_string()));
        let dir = snapshot.path();
        let mut pauses = PAUSES_S.iter();
        loop {
            // Held until the unpacking has ended, which goes on if the attempt is cancelled.
            let turn = Arc::clone(&self.fetching).lock_owned().await;
            let fetched =
                if dir.exists() { Ok(()) } else { self.fetch(client, digest, dir.to_owned(), turn).await };
            match (fetched, pauses.next()) {
                (Ok(()), _) => break,
                (Err(error), Some(&pause)) if error.is_transient() => {
                    tracing::warn!(%error, "tried again in {pause} s");
                    tokio::time::sleep(Duration::from_secs(pause)).await;
                }
                (Err(error), _) => return Err(error),
            }
        }
        self.touch_and_sweep(dir);
        Ok(snapshot)
    }

    fn hold(&self, dir: PathBuf) -> Snapshot {
        *locked(&self.used).entry(dir.clone()).or_default() += 1;
        Snapshot { dir, used: Arc::clone(&self.used) }
    }

    async fn fetch(
        &self,
        client: &Client,
        digest: Digest,
        dir: PathBuf,
        turn: tokio::sync::OwnedMutexGuard<()>,
    ) -> Result<(), FetchError> {
        let remote = |source| FetchError::Remote { digest, source };
        let local = |source| FetchError::Local { digest, source };
        let archive = self.dir.join(format!("{digest}.tar.zst"));
        let mut stream = client.snapshot(digest, 0).await.map_err(remote)?;
        let mut file = tokio::fs::File::create(&archive).await.map_err(local)?;
        let received = async {
            while let Some(piece) = stream.next().await.map_err(remote)? {
                file.write_all(&piece).await.map_err(local)?;
            }
            // Writes happen behind: the last one's error is told only here.
            file.flush().await.map_err(local)
        };
        let received = received.await;
        drop(file);
        let unpack = move || {
            let _turn = turn;
            let unpacked = received.and_then(|()| put_in_place(&archive, digest, &dir));
            if let Err(error) = fs::remove_file(&archive) {
                tracing::warn!(%error, path = %archive.display(), "a snapshot's archive cannot be removed");
            }
            unpacked
        };
        tokio::task::spawn_blocking(unpack).await.map_err(|error| local(io::Error::other(error)))?
    }

    /// Marks a snapshot as used and removes, of those that no attempt has, the ones that were
    /// not used for longest. What cannot be removed is tried again next time.
    fn touch_and_sweep(&self, dir: &Path) {
        let now = fs::FileTimes::new().set_modified(SystemTime::now());
        if let Err(error) = fs::File::open(dir).and_then(|dir| dir.set_times(now)) {
            tracing::debug!(%error, "a snapshot's last use is not noted");
        }
        // Held until they are removed, so that nobody takes one meanwhile.
        let used = locked(&self.used);
        let others = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let mut others: Vec<(SystemTime, PathBuf)> = others
            .filter(|entry| !used.contains_key(&entry.path()) && digest_of(entry).is_some())
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        others.sort();
        let surplus = others.len().saturating_sub(KEPT);
        for (_, path) in others.into_iter().take(surplus) {
            if let Err(error) = fs::remove_dir_all(&path) {
                tracing::warn!(%error, path = %path.display(), "an old snapshot cannot be removed");
            }
        }
    }
}

/// Unpacks an archive; the directory gets its name once its content is on disk.
fn put_in_place(archive: &Path, digest: Digest, dir: &Path) -> Result<(), FetchError> {
    let local = |source| FetchError::Local { digest, source };
    let fresh = dir.with_extension("new");
    let file = fs::File::open(archive).map_err(local)?;
    snapshot::unpack(file, digest, &fresh).map_err(|source| FetchError::Unusable { digest, source })?;
    let synced = fs::File::open(&fresh).and_then(|at| Ok(rustix::fs::syncfs(at)?));
    synced.and_then(|()| fs::rename(&fresh, dir)).map_err(local)
}

/// The digest that an entry of the cache is named after.
fn digest_of(entry: &fs::DirEntry) -> Option<Digest> {
    entry.file_name().to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cut_off_start_left_is_removed_and_whole_snapshots_stay() {
        let dir = tempfile::tempdir().unwrap();
        let whole = Digest::of(b"whole");
        let partial = dir.path().join(format!("{whole}.new.partial-77"));
        fs::create_dir_all(partial.join("repos")).unwrap();
        fs::create_dir(dir.path().join(format!("{whole}.new"))).unwrap();
        fs::write(dir.path().join(format!("{}.tar.zst", Digest::of(b"half"))), "half").unwrap();
        fs::create_dir(dir.path().join(whole.to_string())).unwrap();
        Snapshots::open(dir.path()).unwrap();
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, [std::ffi::OsString::from(whole.to_string())]);
    }

    #[test]
    fn of_many_snapshots_the_last_used_are_kept_and_those_that_builds_have() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Snapshots::open(dir.path()).unwrap();
        let of = |n: u8| dir.path().join(Digest::of(&[n]).to_string());
        for n in 0..7 {
            fs::create_dir(of(n)).unwrap();
            let then = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(n));
            fs::File::open(of(n)).unwrap().set_modified(then).unwrap();
        }
        let left = || (0..7).filter(|&n| of(n).exists()).collect::<Vec<_>>();
        let (first, beside, again) = (cache.hold(of(0)), cache.hold(of(1)), cache.hold(of(1)));
        drop(again);
        cache.touch_and_sweep(first.path());
        assert_eq!(left(), [0, 1, 4, 5, 6]);
        drop(beside);
        cache.touch_and_sweep(first.path());
        assert_eq!(left(), [0, 4, 5, 6], "nobody builds from it any more");
    }

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
