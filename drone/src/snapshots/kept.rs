//! The snapshots on a drone's disk.
//!
//! One is whole, or a layer over another one, which then stays as long as it does: the
//! directories of a repository alone would cost 160 MB for each snapshot. Its archive is kept beside
//! it, which with a difference proves the next one.
//!
//! A directory that has a digest for its name and a seal in it is whole and on disk: it gets that
//! name last. The seal is compared when the snapshot is first used after a start.

use super::{FetchError, seal};
use crate::{buildroot::layer::remove, download::PARTIAL, uses::Uses};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use swarm_common::{
    digest::Digest,
    format::snapshot::{self, LAYER, OWN},
};

/// Snapshots that are kept beside those in use.
const KEPT: usize = 3;
/// A snapshot never lies over more than so many others: every layer makes a build's look-ups slower.
const MOST_BELOW: usize = 31;
/// What was fetched of an archive that nobody asked for again is kept this long.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// As it came: compressed, the whole snapshot or the difference to the one below.
const ARCHIVE: &str = "archive";
/// Names the snapshot that a layer lies over.
const BELOW: &str = "below";

/// The cache.
#[derive(Debug, Clone)]
pub(super) struct Kept(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    uses: Mutex<Uses>,
}

/// Keeps a snapshot from being removed.
#[derive(Debug)]
pub(super) struct Hold {
    kept: Kept,
    digest: Digest,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.kept.uses().end(self.digest);
    }
}

impl Kept {
    /// Opens the cache and removes what an earlier start left unfinished in it, but for what it
    /// was fetching.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let whole = digest_of(&path).is_some() && path.join(seal::SEAL).exists();
            if whole || is_partial(&path) {
                continue;
            }
            if let Err(error) = remove(&path) {
                tracing::warn!(%error, path = %path.display(), "half a snapshot cannot be removed");
            }
        }
        Ok(Self(Arc::new(Shared { dir: dir.to_owned(), uses: Mutex::default() })))
    }

    /// Holds a snapshot, whether it is there or not.
    pub fn hold(&self, digest: Digest) -> Hold {
        self.uses().begin(digest);
        Hold { kept: self.clone(), digest }
    }

    /// A snapshot and those that it lies over, the lowest first, if they are there and as they
    /// were made. What is not is thrown away.
    pub fn find(&self, digest: Digest) -> io::Result<Option<Vec<Digest>>> {
        let Some(chain) = self.chain(digest) else {
            self.discard(digest)?;
            return Ok(None);
        };
        for &one in &chain {
            if self.uses().is_checked(one) {
                continue;
            }
            if let Some(damage) = seal::damage(&self.dir(one)) {
                tracing::warn!(
                    snapshot = %one,
                    "a snapshot is not as it was unpacked: {damage}; it is thrown away and fetched anew"
                );
                self.discard(one)?;
                self.discard(digest)?;
                return Ok(None);
            }
            self.uses().check(one);
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

    /// Snapshots that another one can lie over, with those below each, the one used last first.
    pub fn candidates(&self) -> Vec<Digest> {
        let mut found = self.by_use();
        found.reverse();
        found.retain(|&digest| self.chain(digest).is_some_and(|chain| chain.len() <= MOST_BELOW));
        found
    }

    /// All of them, the one used last at the end.
    fn by_use(&self) -> Vec<Digest> {
        let entries = fs::read_dir(&self.0.dir).into_iter().flatten().flatten();
        let used = |entry: &fs::DirEntry| entry.metadata().ok()?.modified().ok();
        let mut found: Vec<_> =
            entries.filter_map(|entry| Some((used(&entry)?, digest_of(&entry.path())?))).collect();
        found.sort_unstable();
        found.into_iter().map(|(_, digest)| digest).collect()
    }

    /// The most bytes that the difference to a snapshot may have, compressed.
    pub fn most_of_difference(&self, below: &[Digest]) -> u64 {
        let whole = below.first().map(|&lowest| self.dir(lowest).join(ARCHIVE));
        whole.and_then(|path| fs::metadata(path).ok()).map_or(0, |found| found.len())
    }

    /// Where an archive is fetched to: that of a snapshot, or of its difference to another one.
    pub fn partial(&self, digest: Digest, below: Option<Digest>) -> PathBuf {
        let since = below.map(|below| format!(".since-{below}")).unwrap_or_default();
        self.0.dir.join(format!("{digest}{since}.{PARTIAL}"))
    }

    /// Unpacks an archive that was fetched, and keeps both: a whole snapshot, or its difference to
    /// the last of `below`. An archive that cannot be used is removed.
    pub fn put(&self, archive: &Path, digest: Digest, below: &[Digest]) -> Result<(), FetchError> {
        let local = |source| FetchError::Local { digest, source };
        let aside = self.dir(digest).with_extension("new");
        remove(&aside).and_then(|()| fs::create_dir(&aside)).map_err(local)?;
        let unpacked = match below {
            [] => {
                let file = File::open(archive).map_err(local)?;
                snapshot::unpack(file, digest, &aside.join(LAYER)).map(drop)
            }
            below => {
                let archives = below.iter().map(|&one| self.dir(one).join(ARCHIVE));
                let archives: Vec<PathBuf> = archives.chain([archive.to_owned()]).collect();
                snapshot::unpack_difference(&archives, digest, &aside)
            }
        };
        if let Err(source) = unpacked {
            remove(&aside).and_then(|()| remove(archive)).map_err(local)?;
            return Err(FetchError::Unusable { digest, source });
        }
        let kept = || {
            if let Some(last) = below.last() {
                fs::write(aside.join(BELOW), last.to_string())?;
            }
            fs::rename(archive, aside.join(ARCHIVE))?;
            seal::write(&aside)?;
            rustix::fs::syncfs(File::open(&aside)?)?;
            let old = self.put_aside(&mut self.uses(), digest)?;
            fs::rename(&aside, self.dir(digest))?;
            remove(&old)
        };
        kept().map_err(local)?;
        self.uses().check(digest);
        Ok(())
    }

    /// Where the drone itself reads a snapshot, and the directories it is made of if these are
    /// several, the lowest first.
    pub fn places(&self, digest: Digest, chain: &[Digest]) -> (PathBuf, Vec<PathBuf>) {
        let dir = self.dir(digest);
        match chain {
            [_] => (dir.join(LAYER), Vec::new()),
            _ => (dir.join(OWN), chain.iter().map(|&one| self.dir(one).join(LAYER)).collect()),
        }
    }

    /// Notes that a snapshot is used now and removes, of those that no attempt has, the ones that
    /// were not used for longest. What cannot be removed is tried again next time.
    pub fn touch_and_sweep(&self, digest: Digest) {
        if let Err(error) = File::open(self.dir(digest)).and_then(|dir| dir.set_modified(SystemTime::now())) {
            tracing::debug!(%error, "a snapshot's last use is not noted");
        }
        let found = self.by_use();
        // Held until they are renamed, so that nobody takes one meanwhile.
        let mut uses = self.uses();
        let (used, idle): (Vec<Digest>, Vec<Digest>) =
            found.iter().copied().partition(|digest| uses.has(*digest));
        let kept = used.into_iter().chain(idle.iter().rev().take(KEPT).copied());
        let kept: BTreeSet<Digest> = kept.flat_map(|digest| self.chain(digest).unwrap_or_default()).collect();
        let old = found.into_iter().filter(|digest| !kept.contains(digest));
        let aside: Vec<_> = old.map(|digest| self.put_aside(&mut uses, digest)).collect();
        drop(uses);
        for removed in aside.into_iter().map(|aside| aside.and_then(|path| remove(&path))) {
            if let Err(error) = removed {
                tracing::warn!(%error, "an old snapshot cannot be removed");
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
                tracing::warn!(%error, "what is left of an old download cannot be removed");
            }
        }
    }

    fn discard(&self, digest: Digest) -> io::Result<()> {
        let aside = self.put_aside(&mut self.uses(), digest)?;
        remove(&aside)
    }

    /// Takes a snapshot's name from it, so that half of one never has it.
    fn put_aside(&self, uses: &mut Uses, digest: Digest) -> io::Result<PathBuf> {
        let (dir, aside) = (self.dir(digest), self.dir(digest).with_extension("old"));
        remove(&aside)?;
        uses.forget(digest);
        match fs::rename(dir, &aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(aside),
        }
    }

    fn dir(&self, digest: Digest) -> PathBuf {
        self.0.dir.join(digest.to_string())
    }

    fn uses(&self) -> MutexGuard<'_, Uses> {
        self.0.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The digest that a directory is named after.
fn digest_of(path: &Path) -> Option<Digest> {
    path.file_name()?.to_str()?.parse().ok()
}

fn is_partial(path: &Path) -> bool {
    path.extension().is_some_and(|kind| kind == PARTIAL)
}

#[cfg(test)]
mod tests;
