//! Snapshots as they came: compressed archives by the digest of their content. One enters
//! only whole and proved. Beside them are the differences that drones asked for, each named after
//! both snapshots and gone with the newer one.

use crate::{
    archives::{Archives, NewArchive},
    artifact::disk::DiskError,
};
use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};
use swarm_common::{
    digest::Digest,
    format::snapshot::{self, SnapshotError},
};

/// Why a snapshot was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// It is not what its name says, or no snapshot.
    #[error(transparent)]
    Unsound(#[from] SnapshotError),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A difference is worth its while if it is so many times smaller than the snapshot.
const WORTH: u64 = 2;

/// The directory of snapshots.
#[derive(Debug, Clone)]
pub struct Snapshots {
    archives: Archives,
    /// One difference is made at a time: all drones ask for the same one.
    making: Arc<Mutex<()>>,
}

impl Snapshots {
    /// Uses `dir`, which is made if needed.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, DiskError> {
        Ok(Self { archives: Archives::open(dir.into())?, making: Arc::default() })
    }

    /// Where the archive is, or would be.
    #[must_use]
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.archives.path(digest)
    }

    /// The archive with what `newer` has that `older` has not, made if need be. `None` if one of
    /// them is not here or they have too little in common.
    ///
    /// # Errors
    /// If one of them cannot be read, or the disk fails.
    pub fn difference(&self, newer: Digest, older: Digest) -> Result<Option<PathBuf>, TakeError> {
        let path = self.archives.dir().join(format!("{newer}.since-{older}.tar.zst"));
        let _turn = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let (old, new) = (self.path(older), self.path(newer));
        if !new.exists() || (!old.exists() && !path.exists()) {
            return Ok(None);
        }
        if !path.exists() {
            self.make_difference(&old, &new, &path)?;
        }
        let size = fs::metadata(&path).map_err(DiskError::at("look at", &path))?.len();
        // What was not worth its while is kept empty, so that it is not made again.
        Ok((size > 0).then_some(path))
    }

    fn make_difference(&self, old: &Path, new: &Path, path: &Path) -> Result<(), TakeError> {
        let open = |path: &Path| File::open(path).map_err(DiskError::at("open", path));
        let size = fs::metadata(new).map_err(DiskError::at("look at", new))?.len();
        let mut made = BufWriter::new(Bounded { file: self.archives.create()?, left: size / WORTH });
        match snapshot::difference(open(old)?, [open(new)?, open(new)?], &mut made) {
            Ok(()) => {}
            Err(SnapshotError::Io { source, .. }) if source.kind() == io::ErrorKind::FileTooLarge => {
                // What is buffered is not wanted either.
                drop(made.into_parts());
                return Ok(self.archives.create()?.keep(path)?);
            }
            Err(error) => return Err(error.into()),
        }
        let made = made.into_inner().map_err(|error| DiskError::new("write", path, error.into_error()))?;
        Ok(made.file.keep(path)?)
    }

    /// Whether it is there.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn has(&self, digest: Digest) -> Result<bool, DiskError> {
        let path = self.path(digest);
        tokio::fs::try_exists(&path).await.map_err(DiskError::at("look at", &path))
    }

    /// Begins to take the snapshot `digest`.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn create(&self, digest: Digest) -> Result<NewSnapshot, DiskError> {
        Ok(NewSnapshot { path: self.path(digest), digest, file: self.archives.create()? })
    }

    /// Removes archives that nobody needs and that came before `before`, and what a crash
    /// left. How many went.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn retain(&self, before: SystemTime, kept: impl Fn(Digest) -> bool) -> Result<usize, DiskError> {
        self.archives.retain(before, kept)
    }
}

/// A file that takes no more than so many bytes.
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

/// A snapshot on its way in. Dropped without [`NewSnapshot::commit`] it is gone.
#[derive(Debug)]
pub struct NewSnapshot {
    path: PathBuf,
    digest: Digest,
    file: NewArchive,
}

impl NewSnapshot {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write(bytes)
    }

    /// Proves that it is the snapshot that was announced, and keeps it.
    ///
    /// # Errors
    /// It is another one or none, or the disk fails.
    pub fn commit(self) -> Result<(), TakeError> {
        snapshot::verify(self.file.reopen()?.0, self.digest)?;
        Ok(self.file.keep(&self.path)?)
    }
}
