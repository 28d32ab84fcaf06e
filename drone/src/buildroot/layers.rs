//! The layers that a drone keeps: made once for each artifact, within a budget. Unpacked images of
//! bases are kept in the same way.
//!
//! A layer is made aside, synced, sealed and renamed, so one that has its name is whole; its
//! seal is compared when it is first used after a start, and one that is not as it was is made
//! anew. While a build root has a layer it is not removed.

use super::layer;
use crate::uses::Uses;
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};
use swarm_common::digest::Digest;

/// What a layer's directory is called.
const FILES: &str = "files";
/// What the directory is like, and its size ([`layer::seal`]).
const SEAL: &str = "seal";
/// In place of both: Portage installs it in each root anew.
const ORDERED: &str = "ordered";

/// The cache.
#[derive(Debug, Clone)]
pub struct Layers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    budget_bytes: u64,
    uses: Mutex<Uses>,
}

/// A layer in use; it stays as long as this is kept.
#[derive(Debug)]
pub struct Layer {
    layers: Layers,
    key: Digest,
}

/// How an artifact gets into a build root.
#[derive(Debug)]
pub enum Kept {
    /// As a layer.
    Layer(Layer),
    /// Portage installs it.
    Ordered,
}

impl Layers {
    /// Opens the cache in `dir` and removes what an earlier start left unfinished.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub fn open(dir: &Path, budget_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let whole = path.join(SEAL).exists() || path.join(ORDERED).exists();
            if !whole || key_of(&path).is_none() {
                remove(&path)?;
            }
        }
        let (dir, uses) = (dir.to_owned(), Mutex::default());
        Ok(Self(Arc::new(Shared { dir, budget_bytes, uses })))
    }

    /// The layer of this key, if it is there and as it was made.
    ///
    /// # Errors
    /// The disk.
    pub fn get(&self, key: Digest) -> io::Result<Option<Kept>> {
        let dir = self.dir(key);
        if dir.join(ORDERED).exists() {
            return Ok(Some(Kept::Ordered));
        }
        let Ok(sealed) = fs::read_to_string(dir.join(SEAL)) else { return Ok(None) };
        let checked = self.uses().is_checked(key);
        if !checked && sealed != layer::seal(&dir.join(FILES))? {
            let uses = self.uses();
            // Another build may have made it anew meanwhile.
            if !uses.is_checked(key) {
                tracing::warn!(layer = %dir.display(), "a layer is not as it was made; it is made anew");
                remove(&dir)?;
            }
            return Ok(None);
        }
        let mut uses = self.uses();
        if !dir.exists() {
            // Another build has removed it meanwhile, since nobody had it.
            return Ok(None);
        }
        uses.check(key);
        uses.begin(key);
        drop(uses);
        // Its time tells the last use. That it cannot be set costs a layer too early, no more.
        if let Err(error) = File::open(&dir).and_then(|dir| dir.set_modified(SystemTime::now())) {
            tracing::debug!(%error, layer = %dir.display(), "a layer's last use is not noted");
        }
        Ok(Some(Kept::Layer(Layer { layers: self.clone(), key })))
    }

    /// A directory to make a layer's files in, empty, on the cache's disk.
    ///
    /// # Errors
    /// The disk.
    pub fn begin(&self, key: Digest) -> io::Result<PathBuf> {
        let aside = self.dir(key).with_extension("new");
        remove(&aside)?;
        let files = aside.join(FILES);
        fs::create_dir_all(&files)?;
        Ok(files)
    }

    /// Forgets what was made in the directory that [`Layers::begin`] gave.
    ///
    /// # Errors
    /// The disk.
    pub fn give_up(&self, key: Digest) -> io::Result<()> {
        remove(&self.dir(key).with_extension("new"))
    }

    /// Keeps what was made in the directory that [`Layers::begin`] gave, and gives it; `stacks`
    /// tells whether it can be used as a layer.
    ///
    /// # Errors
    /// The disk.
    pub fn keep(&self, key: Digest, stacks: bool) -> io::Result<Kept> {
        let dir = self.dir(key);
        let aside = dir.with_extension("new");
        let files = aside.join(FILES);
        if stacks {
            fs::write(aside.join(SEAL), layer::seal(&files)?)?;
        } else {
            remove(&files)?;
            fs::write(aside.join(ORDERED), "")?;
        }
        rustix::fs::syncfs(File::open(&aside)?)?;
        let mut uses = self.uses();
        remove(&dir)?;
        fs::rename(&aside, &dir)?;
        uses.check(key);
        drop(uses);
        let kept = self.get(key)?.ok_or(io::ErrorKind::NotFound)?;
        self.prune()?;
        Ok(kept)
    }

    /// Removes the layers that were not used for longest until the budget holds.
    fn prune(&self) -> io::Result<()> {
        let mut found = Vec::new();
        let mut total = 0;
        for entry in fs::read_dir(&self.0.dir)? {
            let path = entry?.path();
            let Some(key) = key_of(&path) else { continue };
            let seal = fs::read_to_string(path.join(SEAL)).unwrap_or_default();
            let bytes: u64 = seal.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
            total += bytes;
            found.push((fs::metadata(&path)?.modified()?, key, path, bytes));
        }
        found.sort_unstable();
        for (_, key, path, bytes) in found {
            if total <= self.0.budget_bytes {
                break;
            }
            let mut uses = self.uses();
            if !uses.has(key) && bytes > 0 {
                // The lock is held, so that nobody takes it meanwhile; and if it cannot be removed
                // wholly, its seal tells.
                uses.forget(key);
                remove(&path)?;
                total -= bytes;
            }
        }
        Ok(())
    }

    fn dir(&self, key: Digest) -> PathBuf {
        self.0.dir.join(key.to_string())
    }

    fn uses(&self) -> MutexGuard<'_, Uses> {
        self.0.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Layer {
    /// Its files.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.layers.dir(self.key).join(FILES)
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        self.layers.uses().end(self.key);
    }
}

/// The key that a directory is named after.
fn key_of(path: &Path) -> Option<Digest> {
    path.file_name()?.to_str()?.parse().ok()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => fs::remove_file(path),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a layer with one file of so many bytes.
    fn make(layers: &Layers, name: &str, bytes: usize) -> Digest {
        let key = Digest::of(name.as_bytes());
        let files = layers.begin(key).unwrap();
        fs::write(files.join("file"), vec![0; bytes]).unwrap();
        drop(layers.keep(key, true).unwrap());
        key
    }

    fn has(layers: &Layers, key: Digest) -> bool {
        matches!(layers.get(key).unwrap(), Some(Kept::Layer(_)))
    }

    #[test]
    fn what_was_cut_off_or_changed_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let layers = Layers::open(dir.path(), u64::MAX).unwrap();
        let (whole, cut, changed) =
            (make(&layers, "whole", 3), Digest::of(b"cut"), make(&layers, "changed", 3));
        fs::write(layers.begin(cut).unwrap().join("file"), "x").unwrap();
        assert!(has(&layers, changed));
        fs::write(dir.path().join(changed.to_string()).join(FILES).join("file"), "longer").unwrap();

        let layers = Layers::open(dir.path(), u64::MAX).unwrap();
        assert!(has(&layers, whole) && !has(&layers, cut) && !has(&layers, changed));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the rest is removed");
    }

    #[test]
    fn a_layer_in_use_outlives_the_budget_and_an_idle_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let layers = Layers::open(dir.path(), 100).unwrap();
        let used = make(&layers, "used", 60);
        let guard = layers.get(used).unwrap().unwrap();
        let next = make(&layers, "next", 60);
        assert!(has(&layers, used) && has(&layers, next), "both are in use while the second is made");
        let third = make(&layers, "third", 10);
        assert!(has(&layers, used) && has(&layers, third) && !has(&layers, next), "{guard:?}");
        drop(guard);
        make(&layers, "last", 60);
        assert!(!has(&layers, used));
    }

    #[test]
    fn what_cannot_be_stacked_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let layers = Layers::open(dir.path(), 100).unwrap();
        let key = Digest::of(b"ordered");
        layers.begin(key).unwrap();
        layers.keep(key, false).unwrap();
        let layers = Layers::open(dir.path(), 100).unwrap();
        assert!(matches!(layers.get(key).unwrap(), Some(Kept::Ordered)));
    }
}
