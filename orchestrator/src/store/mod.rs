//! Content-addressed files by SHA-256: `sha256/ab/abcd...`.
//!
//! A name in the store means complete, durable content: the content is synced before the name
//! appears, and the name before the operation returns. Only whole files enter, so a crash leaves at
//! most something in `tmp/`, which is emptied at the next start.

pub(crate) mod archives;
pub mod disk;
pub mod entries;
pub mod files;
pub mod images;
pub mod sealed;
pub mod sieve;
pub mod snapshots;

use disk::DiskError;
use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read, Seek as _, SeekFrom, Write},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use swarm_common::digest::Digest;
use swarm_formats::{
    archive::digests::{FileDigests, FileHasher, FileWriter},
    portage::gpkg::Stamp,
};
use tempfile::NamedTempFile;

/// A temporary file that has not been written to for this long is abandoned.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// Why a store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The content does not match its digest.
    #[error("artifact {expected} is damaged: its digest is {found}")]
    Damaged {
        /// The expected digest.
        expected: Digest,
        /// The actual digest.
        found: Digest,
    },
    /// There is no such artifact.
    #[error("no artifact {0} in the store")]
    Absent(Digest),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A directory of files by digest.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// Opens the store in `dir`, which is created if needed. Incomplete files of a crash are
    /// removed, so only one process may do this at a time (the state directory's lock ensures
    /// that).
    ///
    /// # Errors
    /// [`DiskError`] if the disk fails.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, DiskError> {
        let store = Self { dir: dir.into() };
        disk::make_dirs(&store.dir.join("sha256"))?;
        let tmp = store.dir.join("tmp");
        match fs::remove_dir_all(&tmp) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DiskError::new("empty", &tmp, error));
            }
            _ => disk::make_dirs(&tmp)?,
        }
        disk::sync_dir(&store.dir)?;
        Ok(store)
    }

    /// [`Store::open`] while another orchestrator may be using the directory: files that are being
    /// written are left alone.
    ///
    /// # Errors
    /// [`DiskError`] if the disk fails.
    pub fn open_beside_others(dir: impl Into<PathBuf>) -> Result<Self, DiskError> {
        let store = Self { dir: dir.into() };
        let tmp = store.dir.join("tmp");
        disk::make_dirs(&store.dir.join("sha256"))?;
        disk::make_dirs(&tmp)?;
        let look = DiskError::at("look through", &tmp);
        let young = SystemTime::now().checked_sub(ABANDONED);
        let found: Vec<_> = fs::read_dir(&tmp).and_then(Iterator::collect).map_err(look)?;
        for entry in found {
            let old = entry.metadata().and_then(|meta| meta.modified()).ok() < young;
            // Its writer may have ended and removed it in the meantime.
            if old && fs::remove_file(entry.path()).is_ok() {
                tracing::info!(file = %entry.path().display(), "removed an incomplete file");
            }
        }
        Ok(store)
    }

    /// The path of the file with this digest, whether it exists or not.
    #[must_use]
    pub fn path(&self, digest: Digest) -> PathBuf {
        let name = digest.to_string();
        self.dir.join("sha256").join(&name[..2]).join(name)
    }

    /// The size of a file in bytes, if it exists.
    ///
    /// # Errors
    /// [`DiskError`] if the disk fails.
    pub fn size(&self, digest: Digest) -> Result<Option<u64>, DiskError> {
        let path = self.path(digest);
        match fs::metadata(&path) {
            Ok(meta) => Ok(Some(meta.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(DiskError::new("look at", &path, error)),
        }
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`StoreError::Absent`], or the disk fails.
    pub fn read(&self, digest: Digest) -> Result<File, StoreError> {
        let path = self.path(digest);
        File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::Absent(digest),
            _ => DiskError::new("open", &path, error).into(),
        })
    }

    /// Creates a file whose digest is not known yet.
    ///
    /// # Errors
    /// [`DiskError`] if the disk fails.
    pub fn create(&self) -> Result<NewArtifact<'_>, DiskError> {
        let tmp = self.dir.join("tmp");
        let file = NamedTempFile::new_in(&tmp).map_err(DiskError::at("make a file in", &tmp))?;
        Ok(NewArtifact { store: self, out: io::BufWriter::with_capacity(64 * 1024, file) })
    }

    /// Turns the file at `from` into an artifact consisting of its first `keep` bytes and `tail`,
    /// whose combined digest the caller has verified. The bytes are copied only from another file
    /// system.
    ///
    /// # Errors
    /// The disk fails. If it is full, the file stays where it was.
    pub fn take_over(
        &self,
        from: &Path,
        keep: u64,
        stamp: Option<&Stamp>,
        tail: &[u8],
        digest: Digest,
    ) -> Result<(), DiskError> {
        if let Some(stamp) = stamp.filter(|stamp| stamp.bytes.len() as u64 != stamp.replaces) {
            return self.copy_with(from, keep, Some(stamp), tail, digest);
        }
        let opened = fs::OpenOptions::new().write(true).open(from);
        let mut file = opened.map_err(DiskError::at("open", from))?;
        reserve(&file, keep, tail.len() as u64).map_err(DiskError::at("write", from))?;
        let tmp = self.dir.join("tmp");
        let place = NamedTempFile::new_in(&tmp).map_err(DiskError::at("make a file in", &tmp))?;
        let path = place.into_temp_path();
        match fs::rename(from, &path) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                return self.copy_with(from, keep, stamp, tail, digest);
            }
            other => other.map_err(DiskError::at("take", from))?,
        }
        let stamped = stamp.map_or(Ok(()), |stamp| file.write_all_at(&stamp.bytes, stamp.at));
        stamped.map_err(DiskError::at("write", &path))?;
        file.seek(SeekFrom::Start(keep))
            .and_then(|_| file.write_all(tail))
            .and_then(|()| file.set_len(keep + tail.len() as u64))
            .map_err(DiskError::at("write", &path))?;
        let out = io::BufWriter::new(NamedTempFile::from_parts(file, path));
        NewArtifact { store: self, out }.commit(digest)
    }

    /// [`Store::take_over`] for a file that cannot be modified in place.
    fn copy_with(
        &self,
        from: &Path,
        keep: u64,
        stamp: Option<&Stamp>,
        tail: &[u8],
        digest: Digest,
    ) -> Result<(), DiskError> {
        let old = File::open(from).map_err(DiskError::at("open", from))?;
        let mut new = self.create()?;
        let (at, bytes, replaces) = stamp.map_or((keep, &[][..], 0), |s| (s.at, &s.bytes[..], s.replaces));
        let copied = io::copy(&mut (&old).take(at), &mut new)
            .and_then(|_| new.write_all(bytes))
            .and_then(|()| (&old).seek(SeekFrom::Start(at + replaces)))
            .and_then(|_| io::copy(&mut (&old).take(keep.saturating_sub(at + replaces)), &mut new))
            .and_then(|_| new.write_all(tail));
        copied.map_err(DiskError::at("copy", from))?;
        new.commit(digest)?;
        disk::remove_file(from).map(|_| ())
    }

    /// Reads a whole file and verifies its digest.
    ///
    /// # Errors
    /// [`StoreError::Absent`], [`StoreError::Damaged`], or the disk fails.
    pub fn verify(&self, digest: Digest) -> Result<FileDigests, StoreError> {
        let file = self.read(digest)?;
        let digests = FileHasher::read_all(file).map_err(DiskError::at("read", &self.path(digest)))?;
        if digests.sha256 == digest {
            Ok(digests)
        } else {
            Err(StoreError::Damaged { expected: digest, found: digests.sha256 })
        }
    }

    /// Removes a file. Returns whether it existed.
    ///
    /// # Errors
    /// [`DiskError`] if the disk fails.
    pub fn remove(&self, digest: Digest) -> Result<bool, DiskError> {
        disk::remove_file(&self.path(digest))
    }

    /// All files with their sizes in bytes, ordered by digest.
    ///
    /// # Errors
    /// [`DiskError`] if the disk fails.
    pub fn list(&self) -> Result<Vec<(Digest, u64)>, DiskError> {
        let mut found = Vec::new();
        let top = self.dir.join("sha256");
        for shelf in fs::read_dir(&top).map_err(DiskError::at("list", &top))? {
            let shelf = shelf.map_err(DiskError::at("list", &top))?.path();
            for entry in fs::read_dir(&shelf).map_err(DiskError::at("list", &shelf))? {
                let entry = entry.map_err(DiskError::at("list", &shelf))?;
                let name = entry.file_name();
                if let Some(digest) = name.to_str().and_then(|name| name.parse().ok()) {
                    let meta = entry.metadata().map_err(DiskError::at("look at", &entry.path()))?;
                    found.push((digest, meta.len()));
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Removes every file that is not in `keep` and returns the number of bytes freed. Only for
    /// startup, when no stored artifact is about to be journaled.
    ///
    /// # Errors
    /// [`DiskError`] if the disk fails.
    pub fn remove_others(&self, keep: &BTreeSet<Digest>) -> Result<u64, DiskError> {
        let mut freed = 0;
        for (digest, size) in self.list()?.into_iter().filter(|(digest, _)| !keep.contains(digest)) {
            self.remove(digest)?;
            freed += size;
        }
        Ok(freed)
    }

    /// Total size of all files in bytes.
    ///
    /// # Errors
    /// [`DiskError`] if the disk fails.
    pub fn total_size(&self) -> Result<u64, DiskError> {
        Ok(self.list()?.iter().map(|(_, size)| size).sum())
    }

    /// The path of a digest, with its directory made durable.
    fn place(&self, digest: Digest) -> Result<PathBuf, DiskError> {
        let path = self.path(digest);
        if let Some(shelf) = path.parent().filter(|shelf| !shelf.exists()) {
            disk::make_dirs(shelf)?;
            disk::sync_dir(&self.dir.join("sha256"))?;
        }
        Ok(path)
    }
}

/// A file that is being written. Dropping it without [`NewArtifact::commit`] removes it.
pub struct NewArtifact<'s> {
    store: &'s Store,
    out: io::BufWriter<NamedTempFile>,
}

impl NewArtifact<'_> {
    /// Moves the file into the store. The caller has verified that its content has this digest.
    ///
    /// # Errors
    /// [`DiskError`] if the disk fails.
    pub fn commit(self, digest: Digest) -> Result<(), DiskError> {
        let to = self.store.place(digest)?;
        let temp = self.out.into_inner().map_err(|error| DiskError::new("write", &to, error.into_error()))?;
        make_readable(temp.as_file()).map_err(DiskError::at("set the mode of", &to))?;
        temp.as_file().sync_all().map_err(DiskError::at("sync", &to))?;
        temp.persist(&to).map_err(|error| DiskError::new("rename to", &to, error.error))?;
        to.parent().map_or(Ok(()), disk::sync_dir)
    }
}

impl Write for NewArtifact<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Preallocates space for `size` bytes from `start` on, if the file system supports it.
fn reserve(file: &File, start: u64, size: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::KEEP_SIZE, start, size) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        other => Ok(other?),
    }
}

/// Temporary files are private, but artifacts may be served by another program.
fn make_readable(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

/// Copies everything from `reader` to a new artifact.
///
/// # Errors
/// [`StoreError::Damaged`] if the content does not have the digest `expected`, or the disk fails;
/// errors of `reader` count as disk errors.
pub fn insert(
    store: &Store,
    mut reader: impl Read,
    expected: Option<Digest>,
) -> Result<FileDigests, StoreError> {
    let mut new = FileWriter::new(store.create()?);
    io::copy(&mut reader, &mut new).map_err(DiskError::at("write into", &store.dir))?;
    let (new, digests) = new.finish();
    if let Some(expected) = expected.filter(|expected| *expected != digests.sha256) {
        return Err(StoreError::Damaged { expected, found: digests.sha256 });
    }
    new.commit(digests.sha256)?;
    Ok(digests)
}

#[cfg(test)]
mod tests;
