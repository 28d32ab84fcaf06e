//! Snapshots: compressed archives, stored by the digest of their content. A snapshot is stored only once it
//! is complete and verified. The directory also contains the differences that drones requested. They are
//! named after both snapshots and removed with the newer one.

use crate::store::{
    ArchiveFault, Located,
    archives::{Archives, NewArchive},
    disk::DiskError,
};
use std::{
    fs::{self, File},
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};
use swarm_common::digest::Digest;
use swarm_formats::snapshot::{self, SnapshotError};

/// Why a snapshot was not accepted, or a difference was not made.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The content does not match the digest, or is not a valid snapshot.
    #[error(transparent)]
    Unsound(#[from] SnapshotError),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A difference is used only if it is at least this many times smaller than the snapshot.
const WORTH: u64 = 2;

#[derive(Debug, Clone)]
pub struct Snapshots {
    archives: Archives,
    /// Held while a difference is made, because drones usually request the same one simultaneously.
    making: Arc<Mutex<()>>,
}

impl Snapshots {
    /// Uses `dir`, which is created if needed.
    ///
    /// # Errors
    /// The directory cannot be created.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, DiskError> {
        Ok(Self { archives: Archives::open(dir.into())?, making: Arc::default() })
    }

    /// A snapshot for reading it once from the start. The reader is not buffered.
    ///
    /// # Errors
    /// It is not stored, or cannot be opened.
    pub fn read(&self, digest: Digest) -> io::Result<impl Read + use<>> {
        File::open(self.archives.path(digest))
    }

    /// A snapshot for sending it to a client; `None` if it is not stored.
    ///
    /// # Errors
    /// The disk fails.
    pub fn locate(&self, digest: Digest) -> Result<Option<Located>, DiskError> {
        self.archives.locate(digest)
    }

    /// Verifies a stored snapshot. Returns its size in bytes.
    ///
    /// # Errors
    /// It is missing or damaged.
    pub fn verify(&self, digest: Digest) -> Result<u64, ArchiveFault> {
        self.archives.verify(digest, |archive| snapshot::verify(archive, digest))
    }

    /// An archive with the content that `newer` has and `older` lacks, created if needed. `None` if a
    /// snapshot is missing, or if they have too little in common.
    ///
    /// # Errors
    /// A snapshot cannot be read, or the disk fails.
    pub fn difference(&self, newer: Digest, older: Digest) -> Result<Option<Located>, TakeError> {
        let path = self.archives.dir().join(format!("{newer}.since-{older}.tar.zst"));
        let _turn = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let (old, new) = (self.archives.path(older), self.archives.path(newer));
        if !new.exists() || (!old.exists() && !path.exists()) {
            return Ok(None);
        }
        if !path.exists() {
            self.make_difference(&old, &new, &path)?;
        }
        // An empty file records that a difference was too large, so that it is not made again.
        Ok(Located::at(&path)?.filter(|Located::File { len, .. }| *len > 0))
    }

    fn make_difference(&self, old: &Path, new: &Path, path: &Path) -> Result<(), TakeError> {
        let open = |path: &Path| File::open(path).map_err(DiskError::at("open", path));
        let size = fs::metadata(new).map_err(DiskError::at("look at", new))?.len();
        let mut made = BufWriter::new(Bounded { file: self.archives.create()?, left: size / WORTH });
        match snapshot::difference(open(old)?, [open(new)?, open(new)?], &mut made) {
            Ok(()) => {}
            Err(SnapshotError::Io { source, .. }) if source.kind() == io::ErrorKind::FileTooLarge => {
                // Discard the buffered bytes too.
                drop(made.into_parts());
                return Ok(self.archives.create()?.keep(path)?);
            }
            Err(error) => return Err(error.into()),
        }
        let made = made.into_inner().map_err(|error| DiskError::new("write", path, error.into_error()))?;
        Ok(made.file.keep(path)?)
    }

    /// Whether a snapshot is stored.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn has(&self, digest: Digest) -> Result<bool, DiskError> {
        let path = self.archives.path(digest);
        tokio::fs::try_exists(&path).await.map_err(DiskError::at("look at", &path))
    }

    /// Starts to receive the snapshot `digest`.
    ///
    /// # Errors
    /// The disk fails.
    pub fn create(&self, digest: Digest) -> Result<NewSnapshot, DiskError> {
        Ok(NewSnapshot { path: self.archives.path(digest), digest, file: self.archives.create()? })
    }

    /// Removes archives older than `before` for which `kept` returns false, and leftovers of a
    /// crash. Returns the number of files removed.
    ///
    /// # Errors
    /// The disk fails.
    pub fn retain(&self, before: SystemTime, kept: impl Fn(Digest) -> bool) -> Result<usize, DiskError> {
        self.archives.retain(before, kept)
    }
}

/// A file with an upper limit on its size.
struct Bounded {
    file: NewArchive,
    left: u64,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.left.checked_sub(bytes.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        self.file.write(bytes).map_err(io::Error::other)?;
        self.left = left;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A snapshot that is being received. When dropped without [`NewSnapshot::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct NewSnapshot {
    path: PathBuf,
    digest: Digest,
    file: NewArchive,
}

impl NewSnapshot {
    /// Appends bytes.
    ///
    /// # Errors
    /// The disk fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write(bytes)
    }

    /// Verifies the snapshot and stores it.
    ///
    /// # Errors
    /// The content does not match the digest or is not a snapshot, or the disk fails.
    pub fn commit(self) -> Result<(), TakeError> {
        snapshot::verify(self.file.reopen()?.0, self.digest)?;
        Ok(self.file.keep(&self.path)?)
    }
}
