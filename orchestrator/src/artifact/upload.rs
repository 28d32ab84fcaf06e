//! Files that are on their way in: resumable, bounded, and gone without a trace when
//! nobody wants them any more.
//!
//! A file lies at `incoming/<attempt>/<digest>-<size>`; its length is the offset, so there
//! is no second record that could contradict it. One that was taken has left a note there,
//! `<digest>-<size>.taken`, so that a restart finds what became of it. Each request locks the file: of two that
//! append at once one is refused, instead of both being written.

use super::{
    disk::{self, DiskError},
    writeback::Writeback,
};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
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
    /// The attempt has announced as many files as it may.
    #[error("the attempt has announced {limit} files, and may announce no more")]
    TooManyFiles {
        /// The bound.
        limit: usize,
    },
    /// All files that the attempt has announced are larger than they may be together.
    #[error("with this file the attempt announces {sum} bytes, and may announce at most {limit}")]
    TooLargeTogether {
        /// What they would be.
        sum: u64,
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
    /// It was taken, and the file is only the note about that.
    pub taken: bool,
}

impl Upload {
    /// All announced bytes are there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.offset == self.size
    }
}

/// What an attempt may announce in all. No more is stored, as no file outgrows what was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Files.
    pub files: usize,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// What the name of a note ends in.
const TAKEN: &str = ".taken";

/// The directory of unfinished uploads.
#[derive(Debug, Clone)]
pub struct Incoming {
    dir: PathBuf,
    max_bytes: u64,
    /// Held while an upload is announced, so that of many at once each sees the others.
    announcing: Arc<Mutex<()>>,
}

impl Incoming {
    /// Uses `dir`, which is made if needed, for files of at most `max_bytes`.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn open(dir: impl Into<PathBuf>, max_bytes: u64) -> Result<Self, DiskError> {
        let dir = dir.into();
        disk::make_dirs(&dir)?;
        Ok(Self { dir, max_bytes, announcing: Arc::default() })
    }

    /// Announces a file, or finds it again. Where its next piece must begin.
    ///
    /// # Errors
    /// If it is too large, its size changed, the attempt may announce no more, or the disk fails.
    pub fn begin(
        &self,
        attempt: AttemptId,
        digest: Digest,
        size: u64,
        allowed: Allowance,
    ) -> Result<u64, UploadError> {
        if size > self.max_bytes {
            return Err(UploadError::TooLarge { size, limit: self.max_bytes });
        }
        let _alone = self.announcing.lock().unwrap_or_else(PoisonError::into_inner);
        let uploads = self.of_attempt(attempt)?;
        if let Some(there) = uploads.iter().find(|upload| upload.digest == digest && !upload.taken) {
            if there.size != size {
                return Err(UploadError::SizeChanged { announced: there.size, size });
            }
            return Ok(there.offset);
        }
        if uploads.len() >= allowed.files {
            return Err(UploadError::TooManyFiles { limit: allowed.files });
        }
        let sum = uploads.iter().fold(size, |sum, upload| sum.saturating_add(upload.size));
        if sum > allowed.bytes {
            return Err(UploadError::TooLargeTogether { sum, limit: allowed.bytes });
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
        Ok(Appender { file, path, offset, size, writeback: Writeback::default() })
    }

    /// Leaves a note about an upload that was taken; [`Incoming::list`] finds it.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn note_taken(
        &self,
        attempt: AttemptId,
        digest: Digest,
        size: u64,
        note: &str,
    ) -> Result<(), DiskError> {
        let path = self.attempt_dir(attempt).join(format!("{digest}-{size}{TAKEN}"));
        fs::write(&path, note).map_err(DiskError::at("write", &path))
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
        let mut uploads = self.of_attempt(attempt)?.into_iter();
        Ok(uploads.find(|upload| upload.digest == digest && !upload.taken))
    }

    fn of_attempt(&self, attempt: AttemptId) -> Result<Vec<Upload>, DiskError> {
        let dir = self.attempt_dir(attempt);
        let mut uploads = Vec::new();
        for name in names(&dir)? {
            let (plain, taken) = name.strip_suffix(TAKEN).map_or((name.as_str(), false), |name| (name, true));
            let parts = plain.split_once('-').map(|(digest, size)| (digest.parse(), size.parse()));
            let Some((Ok(digest), Ok(size))) = parts else { continue };
            let path = dir.join(&name);
            let meta = fs::metadata(&path).map_err(DiskError::at("look at", &path))?;
            let modified = meta.modified().map_err(DiskError::at("look at", &path))?;
            uploads.push(Upload { attempt, digest, size, offset: meta.len(), modified, path, taken });
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
    writeback: Writeback,
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
        let written = self.file.write_all(bytes);
        written
            .and_then(|()| self.writeback.written(&self.file, bytes.len() as u64))
            .map_err(DiskError::at("write", &self.path))?;
        self.offset = end;
        Ok(())
    }

    /// Makes everything durable. Where the next piece begins, and whether that is the end.
    ///
    /// # Errors
    /// If syncing fails.
    pub fn finish(mut self) -> Result<(u64, bool), UploadError> {
        let synced = self.writeback.finish().and_then(|()| self.file.sync_data());
        synced.map_err(DiskError::at("sync", &self.path))?;
        Ok((self.offset, self.offset == self.size))
    }
}

#[cfg(test)]
mod tests;
