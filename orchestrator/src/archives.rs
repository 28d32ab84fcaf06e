//! Directories of archives that are named after the digest of their content: `DIGEST.tar.zst`.
//! One enters only whole and proved; what they are is for [`crate::snapshots`] and
//! [`crate::images`] to know.

use crate::artifact::disk::{self, DiskError};
use std::{
    fs::{self, File},
    io::{BufReader, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};
use swarm_common::digest::Digest;
use tempfile::NamedTempFile;

/// Bytes that are read at a time from an archive on the disk.
const READ_BYTES: usize = 256 * 1024;

/// A directory of archives.
#[derive(Debug, Clone)]
pub(crate) struct Archives {
    dir: PathBuf,
}

impl Archives {
    /// Uses `dir`, which is made if needed.
    pub fn open(dir: PathBuf) -> Result<Self, DiskError> {
        disk::make_dirs(&dir)?;
        Ok(Self { dir })
    }

    /// Where they are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where one is, or would be.
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.dir.join(format!("{digest}.tar.zst"))
    }

    /// Begins to take one.
    pub fn create(&self) -> Result<NewArchive, DiskError> {
        let file = NamedTempFile::new_in(&self.dir).map_err(DiskError::at("make a file in", &self.dir))?;
        Ok(NewArchive { home: self.clone(), file })
    }

    /// Removes the files of archives that nobody needs and that came before `before`, and what
    /// a crash left. How many files went.
    pub fn retain(&self, before: SystemTime, kept: impl Fn(Digest) -> bool) -> Result<usize, DiskError> {
        let mut gone = 0;
        for entry in fs::read_dir(&self.dir).map_err(DiskError::at("list", &self.dir))? {
            let entry = entry.map_err(DiskError::at("list", &self.dir))?;
            let modified = entry.metadata().and_then(|meta| meta.modified());
            let old = modified.map_err(DiskError::at("look at", &entry.path()))? < before;
            if old && !digest_of(&entry.path()).is_some_and(&kept) {
                gone += usize::from(disk::remove_file(&entry.path())?);
            }
        }
        Ok(gone)
    }
}

/// The archive that a file of the directory belongs to.
fn digest_of(path: &Path) -> Option<Digest> {
    path.file_name()?.to_str()?.split('.').next()?.parse().ok()
}

/// A file on its way in. Dropped without [`NewArchive::keep`] it is gone.
#[derive(Debug)]
pub(crate) struct NewArchive {
    home: Archives,
    file: NamedTempFile,
}

impl NewArchive {
    /// Takes the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write_all(bytes).map_err(DiskError::at("write into", &self.home.dir))
    }

    /// All that has come, from its beginning, and its size.
    pub fn reopen(&self) -> Result<(BufReader<File>, u64), DiskError> {
        let reopened = self.file.reopen().and_then(|file| Ok((file.metadata()?.len(), file)));
        let (size, file) = reopened.map_err(DiskError::at("read", self.file.path()))?;
        Ok((BufReader::with_capacity(READ_BYTES, file), size))
    }

    /// Makes it durable as `path`, a file of the directory.
    pub fn keep(self, path: &Path) -> Result<(), DiskError> {
        self.file.as_file().sync_all().map_err(DiskError::at("sync", path))?;
        self.file.persist(path).map_err(|error| DiskError::new("rename to", path, error.error))?;
        disk::sync_dir(&self.home.dir)
    }
}
