//! A store in a directory: `sha256/ab/abcd...`.
//!
//! A file in the store is complete and durable: its content is synced before the name appears, and the name
//! is synced before the operation returns. A crash leaves at most files in `tmp/`, which is emptied at the
//! next start.

use super::{
    ArtifactStore, Located, NewArtifact, StoreError,
    disk::{self, DiskError},
};
use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};
use std::{
    fs::{self, File, Metadata},
    io::{self, Read, Seek as _, SeekFrom, Write},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use swarm_common::digest::Digest;
use swarm_formats::{
    archive::digests::{FileDigests, FileHasher, FileWriter},
    portage::gpkg::Stamp,
};
use tempfile::NamedTempFile;

/// A temporary file counts as abandoned if it was not written to for this long.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// A directory of package files by digest.
#[derive(Debug, Clone)]
pub struct LocalStore {
    dir: PathBuf,
}

impl LocalStore {
    /// Opens the store in `dir`, which is created if needed. Incomplete files left by a crash are removed, so
    /// only one process at a time may call this, which the state directory's lock ensures.
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

    /// Like [`LocalStore::open`], but another orchestrator may be using the directory: files that are being
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
            // Its writer may have ended and removed the file meanwhile.
            if old && fs::remove_file(entry.path()).is_ok() {
                tracing::info!(file = %entry.path().display(), "removed an incomplete file");
            }
        }
        Ok(store)
    }

    fn path(&self, digest: Digest) -> PathBuf {
        let name = digest.to_string();
        self.dir.join("sha256").join(&name[..2]).join(name)
    }

    /// The path of a digest. Creates its directory durably.
    fn place(&self, digest: Digest) -> Result<PathBuf, DiskError> {
        let path = self.path(digest);
        if let Some(shelf) = path.parent().filter(|shelf| !shelf.exists()) {
            disk::make_dirs(shelf)?;
            disk::sync_dir(&self.dir.join("sha256"))?;
        }
        Ok(path)
    }

    fn metadata(&self, digest: Digest) -> Result<Metadata, StoreError> {
        let path = self.path(digest);
        fs::metadata(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::Absent(digest),
            _ => DiskError::new("look at", &path, error).into(),
        })
    }

    fn file(&self, digest: Digest) -> Result<File, StoreError> {
        disk::open(&self.path(digest))?.ok_or(StoreError::Absent(digest))
    }

    fn new_file(&self) -> Result<NewFile<'_>, DiskError> {
        let tmp = self.dir.join("tmp");
        let file = NamedTempFile::new_in(&tmp).map_err(DiskError::at("make a file in", &tmp))?;
        Ok(NewFile { store: self, out: io::BufWriter::with_capacity(64 * 1024, file) })
    }

    /// [`ArtifactStore::take_over`] for a file that cannot be modified in place.
    fn copy_with(
        &self,
        from: &Path,
        keep: u64,
        stamp: Option<&Stamp>,
        tail: &[u8],
        digest: Digest,
    ) -> Result<(), DiskError> {
        let old = File::open(from).map_err(DiskError::at("open", from))?;
        let mut new = self.new_file()?;
        let (at, bytes, replaces) = stamp.map_or((keep, &[][..], 0), |s| (s.at, &s.bytes[..], s.replaces));
        let copied = io::copy(&mut (&old).take(at), &mut new)
            .and_then(|_| new.write_all(bytes))
            .and_then(|()| (&old).seek(SeekFrom::Start(at + replaces)))
            .and_then(|_| io::copy(&mut (&old).take(keep.saturating_sub(at + replaces)), &mut new))
            .and_then(|_| new.write_all(tail));
        copied.map_err(DiskError::at("copy", from))?;
        new.keep(digest)?;
        disk::remove_file(from).map(|_| ())
    }
}

impl ArtifactStore for LocalStore {
    fn size(&self, digest: Digest) -> Result<u64, StoreError> {
        Ok(self.metadata(digest)?.len())
    }

    fn read(&self, digest: Digest) -> Result<Box<dyn Read + Send>, StoreError> {
        Ok(Box::new(self.file(digest)?))
    }

    fn locate(&self, digest: Digest) -> Result<Located, StoreError> {
        Located::at(&self.path(digest))?.ok_or(StoreError::Absent(digest))
    }

    fn describe(&self, digest: Digest) -> String {
        self.path(digest).display().to_string()
    }

    fn list(&self) -> Result<Vec<(Digest, u64)>, StoreError> {
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

    fn verify(&self, digest: Digest) -> Result<FileDigests, StoreError> {
        let file = self.file(digest)?;
        let digests = FileHasher::read_all(file).map_err(DiskError::at("read", &self.path(digest)))?;
        if digests.sha256 == digest {
            Ok(digests)
        } else {
            Err(StoreError::Damaged { expected: digest, found: digests.sha256 })
        }
    }

    fn create(&self) -> Result<Box<dyn NewArtifact + '_>, StoreError> {
        Ok(Box::new(self.new_file()?))
    }

    fn take_over(
        &self,
        from: &Path,
        keep: u64,
        stamp: Option<&Stamp>,
        tail: &[u8],
        digest: Digest,
    ) -> Result<(), StoreError> {
        if let Some(stamp) = stamp.filter(|stamp| stamp.bytes.len() as u64 != stamp.replaces) {
            return Ok(self.copy_with(from, keep, Some(stamp), tail, digest)?);
        }
        let opened = fs::OpenOptions::new().write(true).open(from);
        let mut file = opened.map_err(DiskError::at("open", from))?;
        reserve(&file, keep, tail.len() as u64).map_err(DiskError::at("write", from))?;
        let tmp = self.dir.join("tmp");
        let place = NamedTempFile::new_in(&tmp).map_err(DiskError::at("make a file in", &tmp))?;
        let path = place.into_temp_path();
        match fs::rename(from, &path) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                return Ok(self.copy_with(from, keep, stamp, tail, digest)?);
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
        Ok(NewFile { store: self, out }.keep(digest)?)
    }

    fn link(&self, digest: Digest, to: &Path, modified: Option<SystemTime>) -> Result<(), StoreError> {
        let temp = to.with_file_name(format!("{digest}.new"));
        disk::remove_file(&temp)?;
        if fs::hard_link(self.path(digest), &temp).is_err() {
            // Another file system, or one without hard links. Copy instead; if the disk is at fault, the copy
            // reports it.
            let mut from = self.file(digest)?;
            let mut copy = File::create(&temp).map_err(DiskError::at("make", &temp))?;
            io::copy(&mut from, &mut copy).map_err(DiskError::at("copy to", &temp))?;
            copy.sync_all().map_err(DiskError::at("sync", &temp))?;
        }
        if let Some(modified) = modified {
            let dated = File::open(&temp).and_then(|file| file.set_modified(modified));
            dated.map_err(DiskError::at("set the time of", &temp))?;
        }
        Ok(fs::rename(&temp, to).map_err(DiskError::at("rename to", to))?)
    }

    fn is_linked(&self, digest: Digest, path: &Path) -> Result<bool, StoreError> {
        let published = fs::metadata(path).map_err(DiskError::at("look at", path))?;
        let stored = self.metadata(digest)?;
        Ok((published.dev(), published.ino()) == (stored.dev(), stored.ino()))
    }

    fn remove(&self, digest: Digest, before: SystemTime) -> Result<bool, StoreError> {
        let path = self.path(digest);
        let modified = match self.metadata(digest) {
            Err(StoreError::Absent(_)) => return Ok(false),
            other => other?.modified().map_err(DiskError::at("look at", &path))?,
        };
        Ok(modified < before && disk::remove_file(&path)?)
    }
}

/// A [`NewArtifact`] in a [`LocalStore`].
struct NewFile<'s> {
    store: &'s LocalStore,
    out: io::BufWriter<NamedTempFile>,
}

impl NewFile<'_> {
    fn keep(self, digest: Digest) -> Result<(), DiskError> {
        let to = self.store.place(digest)?;
        let temp = self.out.into_inner().map_err(|error| DiskError::new("write", &to, error.into_error()))?;
        make_readable(temp.as_file()).map_err(DiskError::at("set the mode of", &to))?;
        temp.as_file().sync_all().map_err(DiskError::at("sync", &to))?;
        temp.persist(&to).map_err(|error| DiskError::new("rename to", &to, error.error))?;
        to.parent().map_or(Ok(()), disk::sync_dir)
    }
}

impl NewArtifact for NewFile<'_> {
    fn commit(self: Box<Self>, digest: Digest) -> Result<(), StoreError> {
        Ok(self.keep(digest)?)
    }
}

impl Write for NewFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Preallocates space for `size` bytes from `start` on, if the file system supports it.
fn reserve(file: &File, start: u64, size: u64) -> io::Result<()> {
    if size == 0 {
        // The kernel refuses an empty range.
        return Ok(());
    }
    match fallocate(file, FallocateFlags::KEEP_SIZE, start, size) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        other => Ok(other?),
    }
}

/// Temporary files are private, but another program may serve artifacts.
fn make_readable(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

/// Copies everything from `reader` to a new artifact.
///
/// # Errors
/// [`StoreError::Damaged`] if the content does not have the digest `expected`, or the disk fails; errors of
/// `reader` are reported as disk errors.
pub fn insert(
    store: &LocalStore,
    mut reader: impl Read,
    expected: Option<Digest>,
) -> Result<FileDigests, StoreError> {
    let mut new = FileWriter::new(store.new_file()?);
    io::copy(&mut reader, &mut new).map_err(DiskError::at("write into", &store.dir))?;
    let (new, digests) = new.finish();
    if let Some(expected) = expected.filter(|expected| *expected != digests.sha256) {
        return Err(StoreError::Damaged { expected, found: digests.sha256 });
    }
    new.keep(digests.sha256)?;
    Ok(digests)
}

#[cfg(test)]
mod tests;
