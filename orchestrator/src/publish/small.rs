//! Reading published files to serve them; small files are cached in memory.
//!
//! A cached file is never stale: every request asks the file system which file the path currently
//! names, and the cached one is used only if it has the same device and inode, size and times. The
//! publisher replaces files by renaming, and a cached file stays open, so no other file can get its
//! inode number in the meantime.

use super::beneath;
use bytes::Bytes;
use rustix::io::Errno;
use std::{
    collections::HashMap,
    fs::{self, File, Metadata},
    io::{self, ErrorKind, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::UNIX_EPOCH,
};

/// Maximum size of a cached file in bytes.
const SMALL: u64 = 64 * 1024;

/// Maximum number of cached files. Each uses a file descriptor.
const FILES: usize = 128;

/// A file with its size and time, all from one inspection, so that they are consistent even if the
/// path is switched to another file in the meantime.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) source: Source,
    pub(crate) size: u64,
    /// Modification time in seconds since the Unix epoch.
    pub(crate) modified: u64,
}

/// A file's content, or the opened file.
#[derive(Debug)]
pub(crate) enum Source {
    Bytes(Bytes),
    File(File),
}

/// Identifies a file and its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(meta: &Metadata) -> Self {
        Self {
            file: (meta.dev(), meta.ino()),
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

struct Kept {
    identity: Identity,
    modified: u64,
    bytes: Bytes,
    /// Keeps the inode number from being reused.
    _open: File,
}

/// Cache of small files.
#[derive(Default)]
pub(crate) struct SmallFiles {
    kept: Mutex<HashMap<PathBuf, Kept>>,
}

impl SmallFiles {
    /// The file at `path` below `root`, if it exists and no link on the path leads out of `root`.
    /// May block.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) fn find(&self, root: &Path, path: &Path) -> io::Result<Option<Found>> {
        let now = match fs::metadata(path) {
            Ok(meta) if meta.is_file() => meta,
            Ok(_) => return Ok(None),
            Err(error) if is_absence(&error) => {
                self.locked(|kept| kept.remove(path));
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if now.len() <= SMALL {
            let identity = Identity::of(&now);
            let fresh = |kept: &Kept| (kept.bytes.clone(), kept.modified);
            let kept = self.locked(|kept| kept.get(path).filter(|k| k.identity == identity).map(fresh));
            if let Some((bytes, modified)) = kept {
                return Ok(Some(Found { source: Source::Bytes(bytes), size: now.len(), modified }));
            }
        }
        // Cached files were opened in this way, too: the same file by another name has the same
        // bytes.
        match beneath::open(root, path) {
            Ok(file) => self.read(path, file).map(Some),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads an opened file; by now, the path may name another one.
    fn read(&self, path: &Path, mut file: File) -> io::Result<Found> {
        let meta = file.metadata()?;
        let size = meta.len();
        let modified = meta.modified()?.duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
        if size > SMALL {
            return Ok(Found { source: Source::File(file), size, modified });
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        // Published files are never changed in place, so the size is still the same.
        file.read_exact(&mut bytes)?;
        let bytes = Bytes::from(bytes);
        let kept = Kept { identity: Identity::of(&meta), modified, bytes: bytes.clone(), _open: file };
        self.locked(|all| {
            if all.len() >= FILES {
                // Files still in use are cached again by their next request.
                all.clear();
            }
            all.insert(path.to_owned(), kept);
        });
        Ok(Found { source: Source::Bytes(bytes), size, modified })
    }

    fn locked<T>(&self, work: impl FnOnce(&mut HashMap<PathBuf, Kept>) -> T) -> T {
        work(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn is_absence(error: &io::Error) -> bool {
    use ErrorKind::*;
    // The last two are for links that lead out of the tree or form a loop.
    matches!(error.kind(), NotFound | NotADirectory | IsADirectory | CrossesDevices)
        || error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]
mod tests {
    use super::*;
    use std::time::Duration;

    fn found(files: &SmallFiles, path: &Path) -> Option<Vec<u8>> {
        match files.find(path.parent().unwrap(), path).unwrap()?.source {
            Source::Bytes(bytes) => Some(bytes.to_vec()),
            Source::File(mut file) => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).unwrap();
                Some(bytes)
            }
        }
    }

    #[test]
    fn a_file_that_replaced_another_of_the_same_size_and_time_is_read_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (path, temp) = (dir.path().join("Packages"), dir.path().join("Packages.new"));
        let files = SmallFiles::default();
        let date = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        // Faster than the file system's clock ticks, so that times alone could not distinguish
        // them.
        for n in 0..2000_u32 {
            fs::write(&temp, n.to_be_bytes()).unwrap();
            File::open(&temp).unwrap().set_modified(date).unwrap();
            fs::rename(&temp, &path).unwrap();
            assert_eq!(found(&files, &path).as_deref(), Some(&n.to_be_bytes()[..]));
            assert_eq!(found(&files, &path).as_deref(), Some(&n.to_be_bytes()[..]), "from memory");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(found(&files, &path), None);
        assert!(files.locked(|kept| kept.is_empty()));
    }

    #[test]
    fn a_second_reading_comes_from_memory_and_a_link_to_it_elsewhere_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gpkg.tar");
        fs::write(&path, b"one").unwrap();
        let files = SmallFiles::default();
        let bytes = |files: &SmallFiles| match files.find(dir.path(), &path).unwrap().unwrap().source {
            Source::Bytes(bytes) => bytes,
            Source::File(_) => panic!("it is small"),
        };
        let first = bytes(&files);
        assert_eq!(bytes(&files).as_ptr(), first.as_ptr(), "the very same bytes");
        fs::hard_link(&path, dir.path().join("b.gpkg.tar")).unwrap();
        assert_eq!(bytes(&files), first);
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_size() {
        let dir = tempfile::tempdir().unwrap();
        let files = SmallFiles::default();
        let large = dir.path().join("large");
        fs::write(&large, vec![7; usize::try_from(SMALL).unwrap() + 1]).unwrap();
        assert!(matches!(files.find(dir.path(), &large).unwrap().unwrap().source, Source::File(_)));
        for n in 0..=FILES {
            let path = dir.path().join(n.to_string());
            fs::write(&path, n.to_string()).unwrap();
            assert_eq!(found(&files, &path).unwrap(), n.to_string().as_bytes());
            assert!(files.locked(|kept| kept.len()) <= FILES);
        }
        assert!(files.find(dir.path(), dir.path()).unwrap().is_none(), "a directory is no file");
    }
}
