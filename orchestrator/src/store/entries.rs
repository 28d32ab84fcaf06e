//! Index entries and file lists of stored artifacts, kept beside the store so that a restart with
//! thousands of packages reads thousands of small files instead of every package.
//!
//! This is a cache: missing or damaged files are created again from the package. An entry starts with a
//! digest of its text, so that a damaged entry never reaches an index.

use crate::store::{
    ArtifactStore, StoreError,
    disk::{self, DiskError},
    files::FileList,
    path_filter::{PathFilter, Suspects},
};
use std::{
    collections::HashMap,
    fs,
    io::{self, BufReader, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};
use swarm_common::{digest::Digest, wire::artifact::Artifact};
use swarm_formats::portage::{
    gpkg::{self, GpkgError, Limits},
    packages_index::{Entry, EntryError, PublishedFile},
    sonames::{self, Sonames},
};

#[derive(Debug, thiserror::Error)]
pub enum EntriesError {
    /// The artifact is not in the store, or the disk fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored file is no longer a valid package.
    #[error("cannot index the stored artifact {digest}: {source}")]
    Unsound { digest: Digest, source: GpkgError },
    /// Its metadata does not fit into an entry.
    #[error(transparent)]
    Entry(#[from] EntryError),
}

/// A directory with two files per artifact: its entry and its file list.
#[derive(Clone)]
pub struct IndexEntryCache {
    dir: PathBuf,
    store: Arc<dyn ArtifactStore>,
    limits: Limits,
    /// Known sizes of entries in bytes.
    sizes: Arc<Mutex<HashMap<Digest, u64>>>,
    filter: Arc<Mutex<PathFilter>>,
    /// PROVIDES of the packages that were asked for, because an arrival is compared with all versions.
    provides: Arc<Mutex<HashMap<Digest, Arc<Sonames>>>>,
}

impl IndexEntryCache {
    /// Uses `dir`, which is created if needed, for packages in `store` within `limits`.
    ///
    /// # Errors
    /// The directory cannot be created.
    pub fn open(
        dir: impl Into<PathBuf>,
        store: Arc<dyn ArtifactStore>,
        limits: Limits,
    ) -> Result<Self, DiskError> {
        let dir = dir.into();
        disk::make_dirs(&dir)?;
        Ok(Self {
            dir,
            store,
            limits,
            sizes: Arc::default(),
            filter: Arc::default(),
            provides: Arc::default(),
        })
    }

    /// Stores the entry and the file list of an artifact. A crash may lose them; they are then
    /// created again.
    ///
    /// # Errors
    /// The disk fails.
    pub fn put(&self, digest: Digest, entry: &Entry, files: &FileList) -> Result<(), DiskError> {
        let text = entry.to_text();
        self.write(&self.path_of_files(digest), &files.to_bytes())?;
        self.filter().note(digest, files);
        self.sizes().remove(&digest);
        self.write(&self.path(digest), format!("{}\n{text}", seal(digest, &text)).as_bytes())
    }

    /// Total size of these artifacts' entries in an index, in bytes. A missing entry counts as 0
    /// until it is created again.
    ///
    /// # Errors
    /// The disk fails.
    pub fn size(&self, of: impl IntoIterator<Item = Digest>) -> Result<u64, DiskError> {
        let mut sum = 0;
        for digest in of {
            let cached = self.sizes().get(&digest).copied();
            sum += match cached {
                Some(size) => size,
                None => match fs::metadata(self.path(digest)) {
                    Ok(meta) => *self.sizes().entry(digest).or_insert(meta.len().saturating_sub(SEAL_BYTES)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                    Err(error) => return Err(DiskError::new("look at", &self.path(digest), error)),
                },
            };
        }
        Ok(sum)
    }

    fn sizes(&self) -> MutexGuard<'_, HashMap<Digest, u64>> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
        let mut temp =
            tempfile::NamedTempFile::new_in(&self.dir).map_err(DiskError::at("make a file in", &self.dir))?;
        temp.write_all(bytes).map_err(DiskError::at("write", path))?;
        temp.persist(path).map_err(|error| DiskError::new("rename to", path, error.error))?;
        Ok(())
    }

    /// The entry of an artifact, with the path
    /// [`Artifact::path`] and the time of receipt as MTIME.
    ///
    /// # Errors
    /// There is no entry, and it cannot be created from the package.
    pub fn entry(&self, artifact: &Artifact) -> Result<Entry, EntriesError> {
        let (path, mtime) = (artifact.path(), artifact.received_at.as_secs());
        match self.kept(artifact) {
            Some(entry) => Ok(entry.moved(&path, mtime)),
            None => self.make(artifact).map(|(entry, _)| entry),
        }
    }

    /// The paths that an artifact installs.
    ///
    /// # Errors
    /// There is no list, and it cannot be created from the package.
    pub fn files(&self, artifact: &Artifact) -> Result<FileList, EntriesError> {
        let kept = fs::read(self.path_of_files(artifact.digest)).ok();
        match kept.and_then(|bytes| FileList::parse(&bytes)) {
            Some(files) => {
                self.filter().note(artifact.digest, &files);
                Ok(files)
            }
            None => self.make(artifact).map(|(_, files)| files),
        }
    }

    /// The stored packages that may install a path that one of these artifacts installs too.
    ///
    /// # Errors
    /// As [`IndexEntryCache::files`] for these artifacts.
    pub fn suspects(&self, arrived: &[Artifact]) -> Result<Suspects, EntriesError> {
        let files = arrived.iter().map(|artifact| self.files(artifact)).collect::<Result<Vec<_>, _>>()?;
        Ok(self.filter().suspects(&files))
    }

    /// A predicate: whether a package is one of `suspects`, or was unknown when they were determined. It
    /// locks this cache for as long as it exists.
    pub fn is_suspect<'a>(&'a self, suspects: &'a Suspects) -> impl Fn(Digest) -> bool + 'a {
        let filter = self.filter();
        move |digest| filter.is_suspect(suspects, digest)
    }

    /// The shared libraries that an artifact provides.
    ///
    /// # Errors
    /// As [`IndexEntryCache::entry`].
    pub fn provides(&self, artifact: &Artifact) -> Result<Arc<Sonames>, EntriesError> {
        if let Some(sonames) = self.provided().get(&artifact.digest) {
            return Ok(Arc::clone(sonames));
        }
        let sonames = Arc::new(sonames::parse(self.entry(artifact)?.get("PROVIDES")));
        self.provided().insert(artifact.digest, Arc::clone(&sonames));
        Ok(sonames)
    }

    /// Whether an artifact is known to provide no shared library.
    #[must_use]
    pub fn provides_nothing(&self, digest: Digest) -> bool {
        self.provided().get(&digest).is_some_and(|sonames| sonames.is_empty())
    }

    fn provided(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Sonames>>> {
        self.provides.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops what is known about an artifact whose files are removed.
    fn forget(&self, digest: Digest) {
        self.sizes().remove(&digest);
        self.filter().remove(digest);
        self.provided().remove(&digest);
    }

    fn filter(&self) -> MutexGuard<'_, PathFilter> {
        self.filter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the whole package and compares it with its entry and file list. If they differ, writes both
    /// again and returns the path of the wrong file, for an admin.
    ///
    /// # Errors
    /// The package is missing or invalid.
    pub fn check(&self, artifact: &Artifact) -> Result<Option<String>, EntriesError> {
        let (entry, files) = self.read_package(artifact)?;
        let kept = self.kept(artifact).map(|kept| kept.moved(entry.path(), artifact.received_at.as_secs()));
        let list = self.path_of_files(artifact.digest);
        let differs = if kept.as_ref() != Some(&entry) {
            self.path(artifact.digest)
        } else if fs::read(&list).ok() != Some(files.to_bytes()) {
            list
        } else {
            return Ok(None);
        };
        self.put(artifact.digest, &entry, &files).map_err(StoreError::Disk)?;
        Ok(Some(differs.display().to_string()))
    }

    /// Creates entry and file list from the package and stores them.
    fn make(&self, artifact: &Artifact) -> Result<(Entry, FileList), EntriesError> {
        let (entry, files) = self.read_package(artifact)?;
        self.put(artifact.digest, &entry, &files).map_err(StoreError::Disk)?;
        Ok((entry, files))
    }

    /// Reads entry and file list from the package, verifying it completely.
    fn read_package(&self, artifact: &Artifact) -> Result<(Entry, FileList), EntriesError> {
        let (path, mtime) = (artifact.path(), artifact.received_at.as_secs());
        let file = self.store.read(artifact.digest)?;
        let package = gpkg::verify(BufReader::with_capacity(256 * 1024, file), &self.limits)
            .map_err(|source| EntriesError::Unsound { digest: artifact.digest, source })?;
        if package.digests.sha256 != artifact.digest {
            let (expected, found) = (artifact.digest, package.digests.sha256);
            return Err(StoreError::Damaged { expected, found }.into());
        }
        let entry = Entry::new(&package.metadata, &PublishedFile { path, digests: package.digests, mtime })?;
        Ok((entry, FileList::of(&package.image.paths)))
    }

    /// Removes the files of an artifact. Returns whether it had an entry.
    ///
    /// # Errors
    /// The disk fails.
    pub fn remove(&self, digest: Digest) -> Result<bool, DiskError> {
        self.forget(digest);
        disk::remove_file(&self.path_of_files(digest))?;
        disk::remove_file(&self.path(digest))
    }

    /// Removes the files older than `before` of artifacts for which `kept` returns false. Returns how many.
    ///
    /// # Errors
    /// The disk fails.
    pub fn retain(&self, before: SystemTime, kept: impl Fn(Digest) -> bool) -> Result<usize, DiskError> {
        disk::retain(&self.dir, before, |name| {
            let Ok(digest) = name.strip_suffix(".files").unwrap_or(name).parse() else { return false };
            if !kept(digest) {
                self.forget(digest);
                return false;
            }
            true
        })
    }

    /// The stored entry, if it is valid and matches the artifact.
    fn kept(&self, artifact: &Artifact) -> Option<Entry> {
        let text = match fs::read_to_string(self.path(artifact.digest)) {
            Ok(text) => text,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(digest = %artifact.digest, %error, "cannot read a cached index entry, \
                        rebuilding it");
                }
                return None;
            }
        };
        let whole =
            text.split_once('\n').filter(|(kept, text)| kept.parse() == Ok(seal(artifact.digest, text)));
        let entry = whole.and_then(|(_, text)| Entry::parse(text)).filter(|entry| {
            entry.cpv() == artifact.target.title() && entry.get("SIZE") == artifact.size.to_string()
        });
        if entry.is_none() {
            let file = self.path(artifact.digest);
            tracing::warn!(file = %file.display(), "a cached index entry is damaged or from an older \
                version, rebuilding it");
        }
        entry
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.dir.join(digest.to_string())
    }

    fn path_of_files(&self, digest: Digest) -> PathBuf {
        self.dir.join(format!("{digest}.files"))
    }
}

/// Length in bytes of the digest line before an entry's text.
const SEAL_BYTES: u64 = 65;

/// A digest that binds an entry's text to its artifact and reveals damage.
fn seal(artifact: Digest, text: &str) -> Digest {
    Digest::of_fields([&artifact.0[..], text.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::LocalStore;
    use swarm_common::{
        id::{AttemptId, DroneId},
        time::TimeMs,
        wire::drone::PortageTarget,
    };

    #[test]
    fn an_entry_is_made_once_and_anew_if_it_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(dir.path().join("store")).unwrap();
        let fixture =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../formats/tests/data/binhost/pebble-1.2-1.gpkg.tar");
        let bytes = fs::read(fixture).unwrap();
        let digest = crate::store::insert(&store, &bytes[..], None).unwrap().sha256;
        let target = PortageTarget {
            cpv: "dev-libs/pebble-1.2".parse().unwrap(),
            slot: "0".to_owned(),
            subslot: "12".to_owned(),
            repository: "fixture".to_owned(),
            use_flags: Vec::new(),
            iuse: Vec::new(),
            chost: "x86_64-pc-linux-gnu".to_owned(),
            build_id: 1,
        };
        let artifact = Artifact {
            target: target.into(),
            digest,
            uploaded_digest: digest,
            size: bytes.len() as u64,
            attempt: AttemptId(1),
            drone: DroneId(1),
            received_at: TimeMs(1_700_000_000_999),
            index_bytes: 0,
            nar: None,
        };
        let store = Arc::new(store);
        let cache =
            IndexEntryCache::open(dir.path().join("entries"), store.clone(), Limits::default()).unwrap();
        let entry = cache.entry(&artifact).unwrap();
        assert_eq!(entry.path(), artifact.path());
        assert_eq!(entry.get("_mtime_"), "1700000000");
        let kept = dir.path().join("entries").join(digest.to_string());
        let whole = fs::read(&kept).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&kept, &damaged).unwrap();
            assert_eq!(cache.kept(&artifact), None, "byte {at}");
        }
        assert_eq!(cache.entry(&artifact).unwrap(), entry);
        assert_eq!(fs::read(&kept).unwrap(), whole, "it is made anew");

        // The check also finds an entry that matches its digest but not the package.
        assert_eq!(cache.check(&artifact).unwrap(), None);
        let text = entry.to_text().replace("SLOT: 0/12", "SLOT: 0/13");
        fs::write(&kept, format!("{}\n{text}", seal(digest, &text))).unwrap();
        assert_ne!(cache.entry(&artifact).unwrap(), entry);
        assert_eq!(cache.check(&artifact).unwrap(), Some(kept.display().to_string()));
        let list = dir.path().join("entries").join(format!("{digest}.files"));
        let mut paths = fs::read(&list).unwrap();
        paths[9] ^= 1;
        fs::write(&list, &paths).unwrap();
        assert_eq!(cache.check(&artifact).unwrap(), Some(list.display().to_string()));
        assert_eq!(cache.check(&artifact).unwrap(), None);
        assert_eq!(cache.entry(&artifact).unwrap(), entry);
        // From here on, the package itself is not needed.
        assert!(store.remove(digest, SystemTime::now()).unwrap());
        assert_eq!(cache.entry(&artifact).unwrap(), entry);
        let later = SystemTime::now() + std::time::Duration::from_secs(60);
        assert_eq!(cache.retain(SystemTime::UNIX_EPOCH, |_| false).unwrap(), 0, "young");
        assert_eq!(cache.retain(later, |other| other == digest).unwrap(), 0, "needed");
        assert_eq!(cache.entry(&artifact).unwrap(), entry);
        assert_eq!(cache.retain(later, |_| false).unwrap(), 2);
        assert!(matches!(cache.entry(&artifact), Err(EntriesError::Store(StoreError::Absent(_)))));
    }
}
