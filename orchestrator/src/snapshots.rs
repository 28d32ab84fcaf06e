//! Snapshots as they came: compressed archives by the digest of their content. One enters
//! only whole and proved.

use crate::{
    archives::{Archives, NewArchive},
    artifact::disk::DiskError,
};
use std::{path::PathBuf, time::SystemTime};
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
pub struct Snapshots(Archives);

impl Snapshots {
    /// Uses `dir`, which is made if needed.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, DiskError> {
        Archives::open(dir.into()).map(Self)
    }

    /// Where the archive is, or would be.
    #[must_use]
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.0.path(digest)
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
        Ok(NewSnapshot { path: self.path(digest), digest, file: self.0.create()? })
    }

    /// Removes archives that nobody needs and that came before `before`, and what a crash
    /// left. How many went.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn retain(&self, before: SystemTime, kept: impl Fn(Digest) -> bool) -> Result<usize, DiskError> {
        self.0.retain(before, kept)
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
