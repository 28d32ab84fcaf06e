//! Reading published files to serve them; small files are cached in memory.
//!
//! A cached file is never stale: for every request, the file system is asked which file the path names now,
//! and the cached file is used only if device, inode, size and times are the same. The publisher replaces
//! files by renaming. Another file may get the inode number of a removed one, and the publisher sets equal
//! modification times, but nobody can set a change time. Hence a file is cached only once its change time
//! lies in the past: a file that replaces it has a later one.

use super::beneath;
use bytes::Bytes;
use rustix::io::Errno;
use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs::{self, File, Metadata},
    io::{self, ErrorKind, Read as _},
    mem,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Maximum size of a cached file in bytes.
const SMALL: u64 = 64 * 1024;

/// Memory for cached files in bytes, enough for 16,000 narinfos.
const MEMORY: usize = 16 << 20;

/// Approximate memory of a cached file in addition to its name and content, in bytes.
const OVERHEAD: usize = 256;

/// How long a file must be unchanged to be cached. Change times are those of the kernel's last tick, at most
/// 10 ms old.
const SETTLED: Duration = Duration::from_millis(100);

/// A file with its size and time, all from one inspection, so that they are consistent even if the path is
/// switched to another file meanwhile.
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

    /// Whether any later file will have another change time. Call this while the file is open, because its
    /// inode number cannot be reused before it is closed.
    fn is_settled(&self, now: SystemTime) -> bool {
        let (seconds, nanoseconds) = self.changed;
        let part = u32::try_from(nanoseconds).unwrap_or_default();
        let changed = Duration::new(u64::try_from(seconds).unwrap_or_default(), part);
        now.duration_since(UNIX_EPOCH + changed).is_ok_and(|age| age > SETTLED)
    }
}

#[derive(Debug, Clone)]
struct Kept {
    identity: Identity,
    modified: u64,
    bytes: Bytes,
}

#[derive(Default)]
pub(crate) struct SmallFiles {
    kept: Mutex<Generations>,
}

/// Cached files in two halves: those in `late` were requested recently, and those in `early` are evicted
/// first.
#[derive(Default)]
struct Generations {
    late: HashMap<OsString, Kept>,
    early: HashMap<OsString, Kept>,
    /// Memory used by `late` in bytes.
    memory: usize,
}

impl Generations {
    fn get(&mut self, name: &OsStr, identity: &Identity) -> Option<Kept> {
        if let Some(kept) = self.late.get(name) {
            return (kept.identity == *identity).then(|| kept.clone());
        }
        let (name, kept) = self.early.remove_entry(name)?;
        let kept = (kept.identity == *identity).then_some(kept)?;
        self.insert(name, kept.clone());
        Some(kept)
    }

    fn insert(&mut self, name: OsString, kept: Kept) {
        let memory = |name: &OsStr, kept: &Kept| name.len() + kept.bytes.len() + OVERHEAD;
        let more = memory(&name, &kept);
        if self.memory + more > MEMORY / 2 {
            self.early = mem::take(&mut self.late);
            self.memory = 0;
        }
        self.memory += more;
        if let Some(old) = self.late.get(&name) {
            self.memory -= memory(&name, old);
        }
        self.late.insert(name, kept);
    }

    fn forget(&mut self, name: &OsStr) {
        self.early.remove(name);
        if let Some((name, kept)) = self.late.remove_entry(name) {
            self.memory -= name.len() + kept.bytes.len() + OVERHEAD;
        }
    }
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
                self.locked(|kept| kept.forget(path.as_os_str()));
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if now.len() <= SMALL
            && let identity = Identity::of(&now)
            && let Some(kept) = self.locked(|all| all.get(path.as_os_str(), &identity))
        {
            let source = Source::Bytes(kept.bytes);
            return Ok(Some(Found { source, size: now.len(), modified: kept.modified }));
        }
        // Cached files were opened in the same way. The same file under another name has the same bytes.
        match beneath::open(root, path) {
            Ok(file) => self.read(path, file).map(Some),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads an opened file. Its path may name another file by now.
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
        let identity = Identity::of(&meta);
        if identity.is_settled(SystemTime::now()) {
            let kept = Kept { identity, modified, bytes: bytes.clone() };
            self.locked(|all| all.insert(path.into(), kept));
        }
        Ok(Found { source: Source::Bytes(bytes), size, modified })
    }

    fn locked<T>(&self, work: impl FnOnce(&mut Generations) -> T) -> T {
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
    use std::time::Instant;

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

    fn small(files: &SmallFiles, path: &Path) -> Bytes {
        match files.find(path.parent().unwrap(), path).unwrap().unwrap().source {
            Source::Bytes(bytes) => bytes,
            Source::File(_) => panic!("it is small"),
        }
    }

    /// Reads until two reads return the very same buffer.
    fn from_memory(files: &SmallFiles, path: &Path) -> Bytes {
        let began = Instant::now();
        loop {
            let bytes = small(files, path);
            if small(files, path).as_ptr() == bytes.as_ptr() {
                return bytes;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "it is never cached");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_file_that_replaced_another_of_the_same_size_and_time_is_read_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (path, temp) = (dir.path().join("Packages"), dir.path().join("Packages.new"));
        let files = SmallFiles::default();
        let date = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        // Faster than the file system's clock ticks, so that times alone cannot distinguish the files. Each
        // file gets the inode number of the one before the last.
        for n in 0..2000_u32 {
            fs::write(&temp, n.to_be_bytes()).unwrap();
            File::open(&temp).unwrap().set_modified(date).unwrap();
            fs::rename(&temp, &path).unwrap();
            assert_eq!(found(&files, &path).as_deref(), Some(&n.to_be_bytes()[..]));
            if n % 400 == 0 {
                assert_eq!(&from_memory(&files, &path)[..], n.to_be_bytes());
            }
        }
        from_memory(&files, &path);
        fs::remove_file(&path).unwrap();
        assert_eq!(found(&files, &path), None);
        assert_eq!(files.locked(|kept| (kept.late.len(), kept.early.len(), kept.memory)), (0, 0, 0));
    }

    #[test]
    fn a_file_that_has_just_changed_is_not_cached() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), b"one").unwrap();
        let identity = Identity::of(&fs::metadata(dir.path().join("a")).unwrap());
        let (seconds, nanoseconds) = identity.changed;
        let changed =
            UNIX_EPOCH + Duration::new(seconds.try_into().unwrap(), nanoseconds.try_into().unwrap());
        for (now, is_settled) in [
            (changed - SETTLED, false),
            (changed, false),
            (changed + SETTLED, false),
            (changed + SETTLED + Duration::from_nanos(1), true),
        ] {
            assert_eq!(identity.is_settled(now), is_settled);
        }
    }

    #[test]
    fn a_second_reading_comes_from_memory_and_a_link_to_it_elsewhere_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gpkg.tar");
        fs::write(&path, b"one").unwrap();
        let files = SmallFiles::default();
        let first = from_memory(&files, &path);
        fs::hard_link(&path, dir.path().join("b.gpkg.tar")).unwrap();
        assert_eq!(small(&files, &path), first);
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_asked_for_again_and_again_stays() {
        let dir = tempfile::tempdir().unwrap();
        let files = SmallFiles::default();
        let large = dir.path().join("large");
        fs::write(&large, vec![7; usize::try_from(SMALL).unwrap() + 1]).unwrap();
        assert!(matches!(files.find(dir.path(), &large).unwrap().unwrap().source, Source::File(_)));
        assert!(files.find(dir.path(), dir.path()).unwrap().is_none(), "a directory is no file");

        let often = dir.path().join("often");
        fs::write(&often, b"often").unwrap();
        let first = from_memory(&files, &often);
        let kept = |n: u8| {
            let identity = Identity { file: (0, n.into()), size: 0, modified: (0, 0), changed: (0, 0) };
            Kept { identity, modified: 0, bytes: vec![0; usize::try_from(SMALL).unwrap()].into() }
        };
        for n in 0..=u8::MAX {
            files.locked(|all| all.insert(n.to_string().into(), kept(n)));
            files.locked(|all| all.insert(n.to_string().into(), kept(n)));
            assert_eq!(small(&files, &often).as_ptr(), first.as_ptr(), "after {n}");
            let taken = |half: &HashMap<OsString, Kept>| -> usize {
                half.iter().map(|(name, kept)| name.len() + kept.bytes.len() + OVERHEAD).sum()
            };
            files.locked(|all| {
                assert_eq!(taken(&all.late), all.memory);
                assert!(all.memory <= MEMORY / 2 && taken(&all.early) <= MEMORY / 2);
            });
        }
        let last = kept(u8::MAX).identity;
        assert!(files.locked(|all| all.get(OsStr::new("255"), &last)).is_some());
        assert!(files.locked(|all| all.get(OsStr::new("0"), &kept(0).identity)).is_none());
    }
}
