//! The snapshots on a drone's disk.
//!
//! A snapshot is stored either completely or as a layer over another snapshot, which is then kept as long as
//! the layer: the directories of a repository alone would take 160 MB per snapshot. The archive is kept too,
//! because together with a difference it verifies the next snapshot.
//!
//! A directory that is named by a digest and contains a seal is complete, because it is renamed last. The
//! seal is checked on first use after a start.

use super::{FetchError, seal};
use crate::{buildroot::layer::remove, download::PARTIAL, ref_counts::RefCounts};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use swarm_common::digest::Digest;
use swarm_formats::snapshot::{self, LAYER, OWN};

/// Number of unused snapshots to keep.
const KEPT: usize = 3;
/// Maximum number of snapshots below another one. Each layer slows down lookups in a build.
const MOST_BELOW: usize = 31;
/// How long a partial download is kept after the last attempt.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// The archive as received: compressed, complete or as the difference to the snapshot below.
const ARCHIVE: &str = "archive";
/// File that names the snapshot below a layer.
const BELOW: &str = "below";
/// File that marks a layer beside which the complete snapshot is unpacked, for builders that read plain
/// directories (Nix).
const PLAIN: &str = "plain";

/// The cache of snapshots. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct SnapshotCache(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    ref_counts: Mutex<RefCounts>,
}

/// Prevents a snapshot from being removed while it exists.
#[derive(Debug)]
pub(super) struct SnapshotGuard {
    cache: SnapshotCache,
    digest: Digest,
}

impl Drop for SnapshotGuard {
    fn drop(&mut self) {
        self.cache.ref_counts().end(self.digest);
    }
}

impl SnapshotCache {
    /// Opens the cache and removes unfinished files of an earlier start, except partial downloads.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let whole = digest_of(&path).is_some() && path.join(seal::SEAL).exists();
            if whole || is_partial(&path) {
                continue;
            }
            if let Err(error) = remove(&path) {
                tracing::warn!(%error, path = %path.display(), "cannot remove an incomplete snapshot");
            }
        }
        Ok(Self(Arc::new(Shared { dir: dir.to_owned(), ref_counts: Mutex::default() })))
    }

    /// Holds a snapshot, whether or not it is cached yet.
    pub fn hold(&self, digest: Digest) -> SnapshotGuard {
        self.ref_counts().begin(digest);
        SnapshotGuard { cache: self.clone(), digest }
    }

    /// Returns a snapshot and those below it, lowest first, if all are cached and undamaged. Removes damaged
    /// and incomplete ones.
    pub fn find(&self, digest: Digest) -> io::Result<Option<Vec<Digest>>> {
        let Some(chain) = self.chain(digest) else {
            self.discard(digest)?;
            return Ok(None);
        };
        for &one in &chain {
            if self.ref_counts().is_checked(one) {
                continue;
            }
            if let Some(damage) = seal::damage(&self.dir(one)) {
                tracing::warn!(
                    snapshot = %one,
                    "a snapshot was modified after it was unpacked: {damage}; downloading it again"
                );
                self.discard(one)?;
                self.discard(digest)?;
                return Ok(None);
            }
            self.ref_counts().check(one);
        }
        Ok(Some(chain))
    }

    fn chain(&self, digest: Digest) -> Option<Vec<Digest>> {
        let mut chain = vec![digest];
        let mut dir = self.dir(digest);
        loop {
            if !dir.join(seal::SEAL).exists() || chain.len() > MOST_BELOW + 1 {
                return None;
            }
            match fs::read_to_string(dir.join(BELOW)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                text => {
                    let below = text.ok()?.parse().ok()?;
                    chain.push(below);
                    dir = self.dir(below);
                }
            }
        }
        chain.reverse();
        Some(chain)
    }

    /// Snapshots that another one can be layered over, most recently used first.
    pub fn candidates(&self) -> Vec<Digest> {
        let mut found = self.by_use();
        found.reverse();
        found.retain(|&digest| self.chain(digest).is_some_and(|chain| chain.len() <= MOST_BELOW));
        found
    }

    /// All snapshots, most recently used last.
    fn by_use(&self) -> Vec<Digest> {
        let entries = fs::read_dir(&self.0.dir).into_iter().flatten().flatten();
        let used = |entry: &fs::DirEntry| entry.metadata().ok()?.modified().ok();
        let mut found: Vec<_> =
            entries.filter_map(|entry| Some((used(&entry)?, digest_of(&entry.path())?))).collect();
        found.sort_unstable();
        found.into_iter().map(|(_, digest)| digest).collect()
    }

    /// Maximum compressed size of a difference in bytes: the size of the archive of the lowest snapshot.
    pub fn most_of_difference(&self, below: &[Digest]) -> u64 {
        let whole = below.first().map(|&lowest| self.dir(lowest).join(ARCHIVE));
        whole.and_then(|path| fs::metadata(path).ok()).map_or(0, |found| found.len())
    }

    /// Path of a partial download: of a snapshot, or of its difference to `below`.
    pub fn partial(&self, digest: Digest, below: Option<Digest>) -> PathBuf {
        let since = below.map(|below| format!(".since-{below}")).unwrap_or_default();
        self.0.dir.join(format!("{digest}{since}.{PARTIAL}"))
    }

    /// Unpacks a downloaded archive and stores both: a complete snapshot, or its difference to the
    /// last of `below`. An unusable archive is removed.
    pub fn put(&self, archive: &Path, digest: Digest, below: &[Digest]) -> Result<(), FetchError> {
        let local = |source| FetchError::Local { digest, source };
        let aside = self.dir(digest).with_extension("new");
        remove(&aside).and_then(|()| fs::create_dir(&aside)).map_err(local)?;
        let unpacked = match below {
            [] => {
                let file = File::open(archive).map_err(local)?;
                snapshot::unpack(file, digest, &aside.join(LAYER))
            }
            below => {
                let archives = below.iter().map(|&one| self.dir(one).join(ARCHIVE));
                let archives: Vec<PathBuf> = archives.chain([archive.to_owned()]).collect();
                snapshot::unpack_difference(&archives, digest, &aside)
            }
        };
        let manifest = match unpacked {
            Ok(manifest) => manifest,
            Err(source) => {
                remove(&aside).and_then(|()| remove(archive)).map_err(local)?;
                return Err(FetchError::Unusable { digest, source });
            }
        };
        let install = || {
            if let Some(last) = below.last() {
                fs::write(aside.join(BELOW), last.to_string())?;
                if manifest.nix.is_some() {
                    fs::write(aside.join(PLAIN), "")?;
                }
            }
            fs::rename(archive, aside.join(ARCHIVE))?;
            seal::write(&aside)?;
            rustix::fs::syncfs(File::open(&aside)?)?;
            let old = self.put_aside(&mut self.ref_counts(), digest)?;
            fs::rename(&aside, self.dir(digest))?;
            remove(&old)
        };
        install().map_err(local)?;
        self.ref_counts().check(digest);
        Ok(())
    }

    /// The directory from which the drone reads a snapshot, and its layers, lowest first, if there
    /// are several.
    pub fn places(&self, digest: Digest, chain: &[Digest]) -> (PathBuf, Vec<PathBuf>) {
        let dir = self.dir(digest);
        match chain {
            [_] => (dir.join(LAYER), Vec::new()),
            _ if dir.join(PLAIN).exists() => (dir.join(OWN), Vec::new()),
            _ => (dir.join(OWN), chain.iter().map(|&one| self.dir(one).join(LAYER)).collect()),
        }
    }

    /// Marks a snapshot as used and removes the least recently used snapshots that no attempt holds.
    /// A failed removal is retried next time.
    pub fn touch_and_sweep(&self, digest: Digest) {
        if let Err(error) = File::open(self.dir(digest)).and_then(|dir| dir.set_modified(SystemTime::now())) {
            tracing::debug!(%error, "cannot record the last use of a snapshot");
        }
        let found = self.by_use();
        // Locked until the old snapshots are renamed, so that no attempt can take one.
        let mut refs = self.ref_counts();
        let (used, idle): (Vec<Digest>, Vec<Digest>) =
            found.iter().copied().partition(|digest| refs.has(*digest));
        let kept = used.into_iter().chain(idle.iter().rev().take(KEPT).copied());
        let kept: BTreeSet<Digest> = kept.flat_map(|digest| self.chain(digest).unwrap_or_default()).collect();
        let old = found.into_iter().filter(|digest| !kept.contains(digest));
        let aside: Vec<_> = old.map(|digest| self.put_aside(&mut refs, digest)).collect();
        drop(refs);
        for removed in aside.into_iter().map(|aside| aside.and_then(|path| remove(&path))) {
            if let Err(error) = removed {
                tracing::warn!(%error, "cannot remove an old snapshot");
            }
        }
        self.sweep_partials();
    }

    fn sweep_partials(&self) {
        let entries = fs::read_dir(&self.0.dir).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| is_partial(&entry.path())) {
            let age = entry.metadata().and_then(|found| found.modified()).map(|then| then.elapsed());
            if age.is_ok_and(|age| age.is_ok_and(|age| age > PATIENCE))
                && let Err(error) = remove(&entry.path())
            {
                tracing::warn!(%error, "cannot remove an old partial download");
            }
        }
    }

    fn discard(&self, digest: Digest) -> io::Result<()> {
        let aside = self.put_aside(&mut self.ref_counts(), digest)?;
        remove(&aside)
    }

    /// Renames a snapshot, so that a partly removed one never has a valid name.
    fn put_aside(&self, refs: &mut RefCounts, digest: Digest) -> io::Result<PathBuf> {
        let (dir, aside) = (self.dir(digest), self.dir(digest).with_extension("old"));
        remove(&aside)?;
        refs.forget(digest);
        match fs::rename(dir, &aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(aside),
        }
    }

    fn dir(&self, digest: Digest) -> PathBuf {
        self.0.dir.join(digest.to_string())
    }

    fn ref_counts(&self) -> MutexGuard<'_, RefCounts> {
        self.0.ref_counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Parses the name of a directory as a digest.
fn digest_of(path: &Path) -> Option<Digest> {
    path.file_name()?.to_str()?.parse().ok()
}

fn is_partial(path: &Path) -> bool {
    path.extension().is_some_and(|kind| kind == PARTIAL)
}

#[cfg(test)]
mod tests;
