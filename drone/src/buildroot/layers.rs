//! The cache of layers, made once for each artifact, with a size limit. Unpacked bases are stored in
//! the same way.
//!
//! A layer is made in a temporary directory, synced, sealed and renamed, so a layer under its final name is
//! complete. Its seal is checked on first use after a start and its content once a month ([`scrub`]). A
//! changed layer is removed and made again. Layers in use by a build root are not evicted.

mod fingerprint;
pub mod scrub;

use crate::ref_counts::RefCounts;
use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};
use swarm_common::digest::Digest;

/// Directory of the layer's files.
const FILES: &str = "files";
/// File with the fingerprint and size of the layer ([`fingerprint::seal`]).
const SEAL: &str = "seal";
/// File with the digest of the layer's content ([`fingerprint::content`]). Its modification time records when
/// the content was last verified.
const CONTENT: &str = "content";
/// File with the paths of the base that the layer hides, each followed by a NUL byte. Missing if there are
/// none.
const GONE: &str = "gone";
/// File that, instead of all these, marks an artifact that Portage must install in each root.
const ORDERED: &str = "ordered";

/// The cache of layers. Clones share it.
#[derive(Debug, Clone)]
pub struct Layers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    budget_bytes: u64,
    ref_counts: Mutex<RefCounts>,
}

/// A layer in use. It is not evicted until this value is dropped.
#[derive(Debug)]
pub struct Layer {
    layers: Layers,
    key: Digest,
}

/// How an artifact is installed in a build root.
#[derive(Debug)]
pub enum Kept {
    Layer(Layer),
    Ordered,
}

impl Kept {
    /// The layer, if it is one. A base always is.
    pub(crate) fn layer(self) -> Option<Layer> {
        match self {
            Self::Layer(layer) => Some(layer),
            Self::Ordered => None,
        }
    }
}

impl Layers {
    /// Opens the cache in `dir` and removes unfinished layers of an earlier start.
    ///
    /// # Errors
    /// The directory cannot be created or read.
    pub fn open(dir: &Path, budget_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let whole = path.join(SEAL).exists() || path.join(ORDERED).exists();
            if !whole || key_of(&path).is_none() {
                remove(&path)?;
            }
        }
        let (dir, ref_counts) = (dir.to_owned(), Mutex::default());
        Ok(Self(Arc::new(Shared { dir, budget_bytes, ref_counts })))
    }

    /// Returns the layer with this key if it is cached and unchanged.
    ///
    /// # Errors
    /// A disk error.
    pub fn get(&self, key: Digest) -> io::Result<Option<Kept>> {
        let dir = self.dir(key);
        if dir.join(ORDERED).exists() {
            return Ok(Some(Kept::Ordered));
        }
        let Ok(sealed) = fs::read_to_string(dir.join(SEAL)) else { return Ok(None) };
        let checked = self.ref_counts().is_checked(key);
        if !checked && sealed != seal(&dir)? {
            let refs = self.ref_counts();
            // Another build may have replaced it meanwhile.
            if !refs.is_checked(key) {
                tracing::warn!(layer = %dir.display(), "a layer was modified, rebuilding it");
                remove(&dir)?;
            }
            return Ok(None);
        }
        let mut refs = self.ref_counts();
        if !dir.exists() {
            // Another build evicted it meanwhile, because it was not in use.
            return Ok(None);
        }
        refs.check(key);
        refs.begin(key);
        drop(refs);
        // The modification time records the last use. If setting it fails, the layer is only evicted earlier.
        if let Err(error) = File::open(&dir).and_then(|dir| dir.set_modified(SystemTime::now())) {
            tracing::debug!(%error, layer = %dir.display(), "cannot record the last use of a layer");
        }
        Ok(Some(Kept::Layer(Layer { layers: self.clone(), key })))
    }

    /// Creates an empty directory for the files of a new layer, on the file system of the cache.
    ///
    /// # Errors
    /// A disk error.
    pub fn begin(&self, key: Digest) -> io::Result<PathBuf> {
        let aside = self.dir(key).with_extension("new");
        remove(&aside)?;
        let files = aside.join(FILES);
        fs::create_dir_all(&files)?;
        Ok(files)
    }

    /// Removes the directory that [`Layers::begin`] created.
    ///
    /// # Errors
    /// A disk error.
    pub fn give_up(&self, key: Digest) -> io::Result<()> {
        remove(&self.dir(key).with_extension("new"))
    }

    /// Stores the content of the directory that [`Layers::begin`] created, and returns it. `gone` are the
    /// paths of the base that the layer hides. If it is `None`, the content cannot be used as a layer, and
    /// only this fact is stored.
    ///
    /// # Errors
    /// A disk error.
    pub fn keep(&self, key: Digest, gone: Option<&[PathBuf]>) -> io::Result<Kept> {
        let dir = self.dir(key);
        let aside = dir.with_extension("new");
        let files = aside.join(FILES);
        if let Some(gone) = gone {
            if !gone.is_empty() {
                let paths = gone.iter().flat_map(|path| [path.as_os_str().as_bytes(), &[0]]);
                fs::write(aside.join(GONE), paths.collect::<Vec<_>>().concat())?;
            }
            fs::write(aside.join(CONTENT), fingerprint::content(&files, &mut || Ok(()))?)?;
            fs::write(aside.join(SEAL), seal(&aside)?)?;
        } else {
            remove(&files)?;
            fs::write(aside.join(ORDERED), "")?;
        }
        rustix::fs::syncfs(File::open(&aside)?)?;
        let mut refs = self.ref_counts();
        remove(&dir)?;
        fs::rename(&aside, &dir)?;
        refs.check(key);
        drop(refs);
        let kept = self.get(key)?.ok_or(io::ErrorKind::NotFound)?;
        self.prune()?;
        Ok(kept)
    }

    /// Removes the least recently used layers until the cache fits its budget.
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
            let mut refs = self.ref_counts();
            if !refs.has(key) && bytes > 0 {
                // Hold the lock, so that no build can take the layer. If removing it fails halfway, its seal
                // no longer matches.
                refs.forget(key);
                remove(&path)?;
                total -= bytes;
            }
        }
        Ok(())
    }

    fn dir(&self, key: Digest) -> PathBuf {
        self.0.dir.join(key.to_string())
    }

    fn ref_counts(&self) -> MutexGuard<'_, RefCounts> {
        self.0.ref_counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Layer {
    /// The directory with the layer's files.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.layers.dir(self.key).join(FILES)
    }

    /// The paths of the base that the layer hides.
    ///
    /// # Errors
    /// A disk error.
    pub fn gone(&self) -> io::Result<Vec<PathBuf>> {
        let paths = gone(&self.layers.dir(self.key))?.unwrap_or_default();
        let paths = paths.split(|byte| *byte == 0).filter(|path| !path.is_empty());
        Ok(paths.map(|path| OsStr::from_bytes(path).into()).collect())
    }
}

/// Computes the content of [`SEAL`] for the layer in `dir`.
fn seal(dir: &Path) -> io::Result<String> {
    let files = fingerprint::seal(&dir.join(FILES))?;
    Ok(match gone(dir)? {
        Some(gone) => format!("{} {}\n", files.trim_end(), Digest::of(&gone)),
        None => files,
    })
}

/// Reads [`GONE`] of the layer in `dir`.
fn gone(dir: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(dir.join(GONE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        self.layers.ref_counts().end(self.key);
    }
}

/// Parses the name of a directory as a key.
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

    /// Makes a layer with one file of `bytes` bytes.
    fn make(layers: &Layers, name: &str, bytes: usize) -> Digest {
        let key = Digest::of(name.as_bytes());
        let files = layers.begin(key).unwrap();
        fs::write(files.join("file"), vec![0; bytes]).unwrap();
        drop(layers.keep(key, Some(&[])).unwrap());
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
    fn what_it_removes_belongs_to_the_layer() {
        let dir = tempfile::tempdir().unwrap();
        let gone = [PathBuf::from("/usr/bin/old"), PathBuf::from("/usr/share/new\nline")];
        let key = Digest::of(b"replaces");
        let layers = Layers::open(dir.path(), u64::MAX).unwrap();
        fs::write(layers.begin(key).unwrap().join("file"), "x").unwrap();
        drop(layers.keep(key, Some(&gone)).unwrap());

        let layers = Layers::open(dir.path(), u64::MAX).unwrap();
        let layer = layers.get(key).unwrap().unwrap().layer().unwrap();
        assert_eq!(layer.gone().unwrap(), gone);
        drop(layer);
        for changed in ["/usr/bin/sh\0", ""] {
            fs::write(dir.path().join(key.to_string()).join(GONE), changed).unwrap();
            let layers = Layers::open(dir.path(), u64::MAX).unwrap();
            assert!(!has(&layers, key), "changed to {changed:?}");
            fs::write(layers.begin(key).unwrap().join("file"), "x").unwrap();
            drop(layers.keep(key, Some(&gone)).unwrap());
        }
    }

    #[test]
    fn what_cannot_be_stacked_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let layers = Layers::open(dir.path(), 100).unwrap();
        let key = Digest::of(b"ordered");
        layers.begin(key).unwrap();
        layers.keep(key, None).unwrap();
        let layers = Layers::open(dir.path(), 100).unwrap();
        assert!(matches!(layers.get(key).unwrap(), Some(Kept::Ordered)));
    }
}
