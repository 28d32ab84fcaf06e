//! Snapshots as they came: compressed archives by the digest of their content. One enters
//! only whole and proved.

use crate::artifact::disk::{self, DiskError};
use std::{
    fs::{self, File},
    io::{self, BufReader, Write as _},
    path::PathBuf,
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

/// The directory of snapshots.
#[derive(Debug, Clone)]
pub struct Snapshots {
    dir: PathBuf,
}

impl Snapshots {
    /// Uses `dir`, which is made if needed.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, DiskError> {
        let dir = dir.into();
        disk::make_dirs(&dir)?;
        Ok(Self { dir })
    }

    /// Where the archive is, or would be.
    #[must_use]
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.dir.join(format!("{digest}.tar.zst"))
    }

    /// Whether it is there.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn has(&self, digest: Digest) -> Result<bool, DiskError> {
        let path = self.path(digest);
        tokio::fs::try_exists(&path).await.map_err(DiskError::at("look at", &path))
    }

    /// Begins to take one.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn create(&self) -> Result<NewSnapshot, DiskError> {
        let file =
            tempfile::NamedTempFile::new_in(&self.dir).map_err(DiskError::at("make a file in", &self.dir))?;
        Ok(NewSnapshot { home: self.clone(), file })
    }

    /// Removes archives that nobody needs and that came before `before`, and what a crash
    /// left. How many went.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn retain(&self, before: SystemTime, kept: impl Fn(Digest) -> bool) -> Result<usize, DiskError> {
        let mut gone = 0;
        for entry in fs::read_dir(&self.dir).map_err(DiskError::at("list", &self.dir))? {
            let entry = entry.map_err(DiskError::at("list", &self.dir))?;
            let name = entry.file_name();
            let digest = name.to_str().and_then(|name| name.strip_suffix(".tar.zst")?.parse().ok());
            let modified = entry.metadata().and_then(|meta| meta.modified());
            let old = modified.map_err(DiskError::at("look at", &entry.path()))? < before;
            if old && !digest.is_some_and(&kept) {
                gone += usize::from(disk::remove_file(&entry.path())?);
            }
        }
        Ok(gone)
    }
}

/// A snapshot on its way in. Dropped without [`NewSnapshot::commit`] it is gone.
#[derive(Debug)]
pub struct NewSnapshot {
    home: Snapshots,
    file: tempfile::NamedTempFile,
}

impl NewSnapshot {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write_all(bytes).map_err(DiskError::at("write into", &self.home.dir))
    }

    /// Proves that it is the snapshot `digest` and keeps it.
    ///
    /// # Errors
    /// It is another one or none, or the disk fails.
    pub fn commit(self, digest: Digest) -> Result<(), TakeError> {
        let path = self.home.path(digest);
        let reopened: io::Result<File> = self.file.reopen();
        let archive = reopened.map_err(DiskError::at("read", &path))?;
        snapshot::verify(BufReader::with_capacity(256 * 1024, archive), digest)?;
        self.file.as_file().sync_all().map_err(DiskError::at("sync", &path))?;
        self.file.persist(&path).map_err(|error| DiskError::new("rename to", &path, error.error))?;
        disk::sync_dir(&self.home.dir)?;
        Ok(())
    }
}
