//! Files that are on their way in: resumable, bounded, and gone without a trace when
//! nobody wants them any more.
//!
//! A file lies at `incoming/<attempt>/<digest>-<size>`; its length is the offset, so there
//! is no second record that could contradict it. Each request locks the file: of two that
//! append at once one is refused, instead of both being written.

use super::disk::{self, DiskError};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};
use swarm_common::{digest::Digest, id::AttemptId};

/// Why bytes were not taken. Nothing that was stored before is lost.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The upload was never announced, or was dropped since.
    #[error("there is no such upload: announce it first")]
    Unknown,
    /// It is larger than uploads may be.
    #[error("the file has {size} bytes, and uploads may have at most {limit}")]
    TooLarge {
        /// The announced size.
        size: u64,
        /// The bound.
        limit: u64,
    },
    /// It was announced with another size before.
    #[error("this upload was announced with {announced} bytes and now with {size}")]
    SizeChanged {
        /// The size first told.
        announced: u64,
        /// The size told now.
        size: u64,
    },
    /// The piece does not begin where the stored bytes end.
    #[error("the piece begins at offset {given}, but {offset} is next")]
    WrongOffset {
        /// Where the piece begins.
        given: u64,
        /// Where it must begin.
        offset: u64,
    },
    /// More bytes came than were announced.
    #[error("more bytes came than the announced {size}")]
    TooMany {
        /// The announced size.
        size: u64,
    },
    /// Another request appends to it at this moment.
    #[error("another request sends this file at this moment: try again")]
    Busy,
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// An upload that lies in the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Whose.
    pub attempt: AttemptId,
    /// What it will be.
    pub digest: Digest,
    /// Announced size in bytes.
    pub size: u64,
    /// Bytes that are there.
    pub offset: u64,
    /// When bytes last came.
    pub modified: SystemTime,
    /// The file.
    pub path: PathBuf,
}

impl Upload {
    /// All announced bytes are there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.offset == self.size
    }
}

/// The directory of unfinished uploads.
#[derive(Debug, Clone)]
pub struct Incoming {
    dir: PathBuf,
    max_bytes: u64,
}

impl Incoming {
    /// Uses `dir`, which is made if needed, for files of at most `max_bytes`.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn open(dir: impl Into<PathBuf>, max_bytes: u64) -> Result<Self, DiskError> {
        let dir = dir.into();
        disk::make_dirs(&dir)?;
        Ok(Self { dir, max_bytes })
    }

    /// Announces a file, or finds it again. Where its next piece must begin.
    ///
    /// # Errors
    /// If it is too large or its size changed, or the disk fails.
    pub fn begin(&self, attempt: AttemptId, digest: Digest, size: u64) -> Result<u64, UploadError> {
        if size > self.max_bytes {
            return Err(UploadError::TooLarge { size, limit: self.max_bytes });
        }
        if let Some(there) = self.find(attempt, digest)? {
            if there.size != size {
                return Err(UploadError::SizeChanged { announced: there.size, size });
            }
            return Ok(there.offset);
        }
        let dir = self.attempt_dir(attempt);
        disk::make_dirs(&dir)?;
        let path = dir.join(format!("{digest}-{size}"));
        OpenOptions::new().append(true).create(true).open(&path).map_err(DiskError::at("make", &path))?;
        disk::sync_dir(&dir)?;
        disk::sync_dir(&self.dir)?;
        Ok(0)
    }

    /// Where an upload stands.
    ///
    /// # Errors
    /// [`UploadError::Unknown`] if it was not announced, or the disk fails.
    pub fn status(&self, attempt: AttemptId, digest: Digest) -> Result<Upload, UploadError> {
        self.find(attempt, digest)?.ok_or(UploadError::Unknown)
    }

    /// Opens an upload for a piece that begins at `given`.
    ///
    /// # Errors
    /// If the piece does not begin where the stored bytes end, if another request has the
    /// upload open, or the disk fails.
    pub fn append(&self, attempt: AttemptId, digest: Digest, given: u64) -> Result<Appender, UploadError> {
        let path = self.status(attempt, digest)?.path;
        let opened = OpenOptions::new().append(true).open(&path);
        let mut file = opened.map_err(DiskError::at("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(UploadError::Busy),
            Err(TryLockError::Error(error)) => return Err(DiskError::new("lock", &path, error).into()),
        }
        // Looked at again under the lock, as another request may just have finished.
        let size = self.status(attempt, digest)?.size;
        let offset = file.seek(SeekFrom::End(0)).map_err(DiskError::at("read", &path))?;
        if offset != given {
            return Err(UploadError::WrongOffset { given, offset });
        }
        Ok(Appender { file, path, offset, size })
    }

    /// Drops one upload. Whether it was there.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn remove(&self, attempt: AttemptId, digest: Digest) -> Result<bool, UploadError> {
        match self.find(attempt, digest)? {
            Some(upload) => Ok(disk::remove_file(&upload.path)?),
            None => Ok(false),
        }
    }

    /// Drops everything of an attempt.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn remove_attempt(&self, attempt: AttemptId) -> Result<(), DiskError> {
        let dir = self.attempt_dir(attempt);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(DiskError::new("remove", &dir, error))
            }
            _ => Ok(()),
        }
    }

    /// Every upload that is there; at a start these are the leftovers.
    ///
    /// # Errors
    /// If a directory cannot be read.
    pub fn list(&self) -> Result<Vec<Upload>, DiskError> {
        let mut uploads = Vec::new();
        for name in names(&self.dir)? {
            if let Ok(attempt) = name.parse() {
                uploads.extend(self.of_attempt(attempt)?);
            }
        }
        uploads.sort_by_key(|upload| (upload.attempt, upload.digest));
        Ok(uploads)
    }

    /// Drops uploads that got no byte since `before`. Which.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn expire(&self, before: SystemTime) -> Result<Vec<Upload>, DiskError> {
        let mut old = self.list()?;
        old.retain(|upload| upload.modified < before);
        for upload in &old {
            disk::remove_file(&upload.path)?;
            // Only an empty directory goes; others still have uploads.
            if let Err(error) = fs::remove_dir(self.attempt_dir(upload.attempt)) {
                use std::io::ErrorKind::{DirectoryNotEmpty, NotFound};
                if !matches!(error.kind(), DirectoryNotEmpty | NotFound) {
                    return Err(DiskError::new("remove", &self.attempt_dir(upload.attempt), error));
                }
            }
        }
        Ok(old)
    }

    fn attempt_dir(&self, attempt: AttemptId) -> PathBuf {
        self.dir.join(attempt.to_string())
    }

    fn find(&self, attempt: AttemptId, digest: Digest) -> Result<Option<Upload>, DiskError> {
        Ok(self.of_attempt(attempt)?.into_iter().find(|upload| upload.digest == digest))
    }

    fn of_attempt(&self, attempt: AttemptId) -> Result<Vec<Upload>, DiskError> {
        let dir = self.attempt_dir(attempt);
        let mut uploads = Vec::new();
        for name in names(&dir)? {
            let parts = name.split_once('-').map(|(digest, size)| (digest.parse(), size.parse()));
            let Some((Ok(digest), Ok(size))) = parts else { continue };
            let path = dir.join(&name);
            let meta = fs::metadata(&path).map_err(DiskError::at("look at", &path))?;
            let modified = meta.modified().map_err(DiskError::at("look at", &path))?;
            uploads.push(Upload { attempt, digest, size, offset: meta.len(), modified, path });
        }
        Ok(uploads)
    }
}

/// Names in a directory; none if it is not there.
fn names(dir: &Path) -> Result<Vec<String>, DiskError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(DiskError::at("list", dir))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(DiskError::at("list", dir))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

/// An upload that is being appended to. What was written stays, even if the request breaks
/// off; [`Appender::finish`] makes it durable.
#[derive(Debug)]
pub struct Appender {
    file: File,
    path: PathBuf,
    offset: u64,
    size: u64,
}

impl Appender {
    /// Appends bytes.
    ///
    /// # Errors
    /// [`UploadError::TooMany`] if they exceed the announced size (then none is written),
    /// or the disk fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        let end = self.offset.saturating_add(bytes.len() as u64);
        if end > self.size {
            return Err(UploadError::TooMany { size: self.size });
        }
        self.file.write_all(bytes).map_err(DiskError::at("write", &self.path))?;
        self.offset = end;
        Ok(())
    }

    /// Makes everything durable. Where the next piece begins, and whether that is the end.
    ///
    /// # Errors
    /// If syncing fails.
    pub fn finish(self) -> Result<(u64, bool), UploadError> {
        self.file.sync_data().map_err(DiskError::at("sync", &self.path))?;
        Ok((self.offset, self.offset == self.size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const A: AttemptId = AttemptId(7);

    fn incoming() -> (tempfile::TempDir, Incoming) {
        let dir = tempfile::tempdir().unwrap();
        let incoming = Incoming::open(dir.path().join("incoming"), 100).unwrap();
        (dir, incoming)
    }

    #[test]
    fn a_file_arrives_in_pieces_and_over_a_restart() {
        let (dir, incoming) = incoming();
        let digest = Digest::of(b"hello world");
        assert_eq!(incoming.begin(A, digest, 11).unwrap(), 0);
        let mut piece = incoming.append(A, digest, 0).unwrap();
        piece.write(b"hel").unwrap();
        piece.write(b"lo").unwrap();
        // The connection breaks: nobody calls finish.
        drop(piece);
        let incoming = Incoming::open(dir.path().join("incoming"), 100).unwrap();
        assert_eq!(incoming.begin(A, digest, 11).unwrap(), 5);
        let mut piece = incoming.append(A, digest, 5).unwrap();
        piece.write(b" world").unwrap();
        assert_eq!(piece.finish().unwrap(), (11, true));
        let done = incoming.status(A, digest).unwrap();
        assert!(done.is_complete());
        assert_eq!(fs::read(done.path).unwrap(), b"hello world");
    }

    #[test]
    fn pieces_at_a_wrong_offset_are_told_the_right_one() {
        let (_dir, incoming) = incoming();
        let digest = Digest::of(b"x");
        incoming.begin(A, digest, 10).unwrap();
        incoming.append(A, digest, 0).unwrap().write(b"abc").unwrap();
        for given in [0, 2, 4, 10, u64::MAX] {
            match incoming.append(A, digest, given) {
                Err(UploadError::WrongOffset { offset: 3, .. }) => {}
                other => panic!("{given}: {other:?}"),
            }
        }
    }

    #[test]
    fn too_much_is_refused_and_what_was_there_stays() {
        let (_dir, incoming) = incoming();
        let digest = Digest::of(b"x");
        assert!(matches!(incoming.begin(A, digest, 101), Err(UploadError::TooLarge { limit: 100, .. })));
        incoming.begin(A, digest, 4).unwrap();
        assert!(matches!(incoming.begin(A, digest, 5), Err(UploadError::SizeChanged { announced: 4, .. })));
        let mut piece = incoming.append(A, digest, 0).unwrap();
        piece.write(b"abc").unwrap();
        assert!(matches!(piece.write(b"de"), Err(UploadError::TooMany { size: 4 })));
        assert_eq!(piece.finish().unwrap(), (3, false));
    }

    #[test]
    fn a_full_disk_is_told_and_what_was_there_stays() {
        let (dir, incoming) = incoming();
        let digest = Digest::of(b"x");
        let home = dir.path().join("incoming/a7");
        fs::create_dir_all(&home).unwrap();
        // The kernel's own full device stands in for the file.
        std::os::unix::fs::symlink("/dev/full", home.join(format!("{digest}-4"))).unwrap();
        let mut piece = incoming.append(A, digest, 0).unwrap();
        let error = piece.write(b"abcd").unwrap_err();
        assert!(matches!(error, UploadError::Disk(DiskError::Full { .. })), "{error}");
        assert_eq!(incoming.status(A, digest).unwrap().offset, 0);
    }

    #[test]
    fn of_two_requests_at_once_one_is_refused() {
        let (_dir, incoming) = incoming();
        let digest = Digest::of(b"x");
        incoming.begin(A, digest, 4).unwrap();
        let first = incoming.append(A, digest, 0).unwrap();
        assert!(matches!(incoming.append(A, digest, 0), Err(UploadError::Busy)));
        drop(first);
        incoming.append(A, digest, 0).unwrap();
    }

    #[test]
    fn unannounced_and_dropped_uploads_are_unknown() {
        let (_dir, incoming) = incoming();
        let digest = Digest::of(b"x");
        assert!(matches!(incoming.append(A, digest, 0), Err(UploadError::Unknown)));
        incoming.begin(A, digest, 4).unwrap();
        assert!(matches!(incoming.status(AttemptId(8), digest), Err(UploadError::Unknown)));
        assert!(incoming.remove(A, digest).unwrap());
        assert!(!incoming.remove(A, digest).unwrap());
        assert!(matches!(incoming.status(A, digest), Err(UploadError::Unknown)));
        incoming.remove_attempt(A).unwrap();
        incoming.remove_attempt(A).unwrap();
    }

    #[test]
    fn leftovers_are_listed_and_expire() {
        let (dir, incoming) = incoming();
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        incoming.begin(A, one, 4).unwrap();
        incoming.begin(AttemptId(9), two, 4).unwrap();
        fs::write(dir.path().join("incoming/stray"), b"").unwrap();
        assert_eq!(incoming.list().unwrap().len(), 2);
        let now = SystemTime::now();
        assert_eq!(incoming.expire(now - Duration::from_secs(60)).unwrap(), []);
        let gone = incoming.expire(now + Duration::from_secs(60)).unwrap();
        assert_eq!(gone.len(), 2);
        assert_eq!(incoming.list().unwrap(), []);
        assert!(!dir.path().join("incoming/a7").exists());
    }
}
