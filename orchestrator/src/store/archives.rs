//! A directory of archives named by the digest of their content: `DIGEST.tar.zst`. The callers,
//! [`crate::store::snapshots`] and [`crate::store::images`], know the format and verify an archive before it
//! is stored.

use crate::store::{
    Located,
    disk::{self, DiskError},
};
use std::{
    fmt::Display,
    fs::File,
    io::{BufReader, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};
use swarm_common::digest::Digest;
use tempfile::NamedTempFile;

/// Size in bytes of the buffer for reading an archive.
const READ_BYTES: usize = 256 * 1024;

/// What is wrong with a stored archive.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct ArchiveFault {
    path: PathBuf,
    why: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Archives {
    dir: PathBuf,
}

impl Archives {
    /// Uses `dir`, which is created if needed.
    pub fn open(dir: PathBuf) -> Result<Self, DiskError> {
        disk::make_dirs(&dir)?;
        Ok(Self { dir })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Path of an archive, whether it exists or not.
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.dir.join(format!("{digest}.tar.zst"))
    }

    /// An archive for sending it to a client; `None` if it is not stored.
    pub fn locate(&self, digest: Digest) -> Result<Option<Located>, DiskError> {
        Located::at(&self.path(digest))
    }

    /// Lets `verify` read an archive. Returns its size in bytes.
    pub fn verify<T, E: Display>(
        &self,
        digest: Digest,
        verify: impl FnOnce(File) -> Result<T, E>,
    ) -> Result<u64, ArchiveFault> {
        let path = self.path(digest);
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let verified = opened.map_err(|error| error.to_string()).and_then(|(size, file)| {
            verify(file).map_err(|error| error.to_string())?;
            Ok(size)
        });
        verified.map_err(|why| ArchiveFault { path, why })
    }

    /// Starts to receive an archive.
    pub fn create(&self) -> Result<NewArchive, DiskError> {
        let file = NamedTempFile::new_in(&self.dir).map_err(DiskError::at("make a file in", &self.dir))?;
        Ok(NewArchive { home: self.clone(), file })
    }

    /// Removes files older than `before` whose digest `kept` rejects, and leftovers of a crash. Returns the
    /// number of files removed.
    pub fn retain(&self, before: SystemTime, kept: impl Fn(Digest) -> bool) -> Result<usize, DiskError> {
        disk::retain(&self.dir, before, |name| digest_of(name).is_some_and(&kept))
    }
}

/// The digest at the start of a file's name.
fn digest_of(name: &str) -> Option<Digest> {
    name.split('.').next()?.parse().ok()
}

/// A file that is being received. Removed when dropped without [`NewArchive::keep`].
#[derive(Debug)]
pub(crate) struct NewArchive {
    home: Archives,
    file: NamedTempFile,
}

impl NewArchive {
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write_all(bytes).map_err(DiskError::at("write into", &self.home.dir))
    }

    /// Opens the received bytes for reading from the start, and returns their size.
    pub fn reopen(&self) -> Result<(BufReader<File>, u64), DiskError> {
        let reopened = self.file.reopen().and_then(|file| Ok((file.metadata()?.len(), file)));
        let (size, file) = reopened.map_err(DiskError::at("read", self.file.path()))?;
        Ok((BufReader::with_capacity(READ_BYTES, file), size))
    }

    /// Makes the file durable as `path`, which must be in the directory.
    pub fn keep(self, path: &Path) -> Result<(), DiskError> {
        self.file.as_file().sync_all().map_err(DiskError::at("sync", path))?;
        self.file.persist(path).map_err(|error| DiskError::new("rename to", path, error.error))?;
        disk::sync_dir(&self.home.dir)
    }
}
