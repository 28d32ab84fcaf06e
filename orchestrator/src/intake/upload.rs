//! Incoming files: resumable, size-limited, and removed completely when no longer needed.
//!
//! A file is stored as `incoming/<attempt>/<digest>-<size>`; its length is the offset, so no second record
//! can contradict it. An accepted file leaves a note `<digest>-<size>.taken`, so that its result survives a
//! restart. Each request locks the file: of two concurrent appends, one is refused.

use crate::{
    intake::writeback::Writeback,
    store::disk::{self, DiskError},
};
use std::{
    fs::{self, OpenOptions, TryLockError},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};
use swarm_common::{digest::Digest, id::AttemptId};
use swarm_daemon::locked::LockedFile;

/// Why bytes were refused. Bytes stored before are kept.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error("unknown upload: announce it first")]
    Unknown,
    #[error("the file has {size} bytes; the limit for uploads is {limit}")]
    TooLarge { size: u64, limit: u64 },
    /// The attempt has announced the maximum number of files.
    #[error("the attempt has announced {limit} files, which is the limit")]
    TooManyFiles { limit: usize },
    /// The files announced by the attempt exceed its total size limit.
    #[error("with this file the attempt announces {sum} bytes; the limit is {limit}")]
    TooLargeTogether { sum: u64, limit: u64 },
    /// The file was previously announced with another size.
    #[error("this upload was announced with {announced} bytes before, now with {size}")]
    SizeChanged { announced: u64, size: u64 },
    /// The piece does not begin where the stored bytes end.
    #[error("the chunk starts at offset {given}, expected {offset}")]
    WrongOffset {
        /// The offset of the piece.
        given: u64,
        offset: u64,
    },
    /// More bytes were sent than announced.
    #[error("received more than the announced {size} bytes")]
    TooMany { size: u64 },
    #[error("another request is uploading this file: try again")]
    Busy,
    #[error(transparent)]
    Disk(#[from] DiskError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The attempt that it belongs to.
    pub attempt: AttemptId,
    pub digest: Digest,
    pub size: u64,
    pub offset: u64,
    /// When bytes were last received.
    pub modified: SystemTime,
    pub path: PathBuf,
    /// Whether the upload was accepted and the file is only the note about it.
    pub is_note: bool,
}

impl Upload {
    /// Whether all announced bytes are stored.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.offset == self.size
    }
}

/// Limits for all uploads of an attempt. The stored size is limited as well, because no file
/// exceeds its announced size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    pub files: usize,
    pub bytes: u64,
}

/// File name suffix of notes.
const ACCEPTED_SUFFIX: &str = ".taken";

#[derive(Debug, Clone)]
pub struct Incoming {
    dir: PathBuf,
    max_bytes: u64,
    /// Held while an upload is announced, so that concurrent announcements are counted correctly.
    announcing: Arc<Mutex<()>>,
}

impl Incoming {
    /// Opens `dir`, which is created if needed, for files of at most `max_bytes`.
    ///
    /// # Errors
    /// The directory cannot be created.
    pub fn open(dir: impl Into<PathBuf>, max_bytes: u64) -> Result<Self, DiskError> {
        let dir = dir.into();
        disk::make_dirs(&dir)?;
        Ok(Self { dir, max_bytes, announcing: Arc::default() })
    }

    #[must_use]
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Announces a file, or finds one announced before. Returns the offset of its next piece.
    ///
    /// # Errors
    /// The file is too large, its size changed, the attempt may announce no more, or the disk
    /// fails.
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
        if let Some(there) = uploads.iter().find(|upload| upload.digest == digest && !upload.is_note) {
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

    /// The state of an upload.
    ///
    /// # Errors
    /// [`UploadError::Unknown`] if it was not announced, or the disk fails.
    pub fn status(&self, attempt: AttemptId, digest: Digest) -> Result<Upload, UploadError> {
        self.find(attempt, digest)?.ok_or(UploadError::Unknown)
    }

    /// Opens an upload for a piece that begins at `given`.
    ///
    /// # Errors
    /// The piece does not begin at the end of the stored bytes, another request has the upload
    /// open, or the disk fails.
    pub fn append(&self, attempt: AttemptId, digest: Digest, given: u64) -> Result<Appender, UploadError> {
        let path = self.status(attempt, digest)?.path;
        let opened = OpenOptions::new().append(true).open(&path);
        let file = opened.map_err(DiskError::at("open", &path))?;
        let mut file = match LockedFile::try_lock(file) {
            Ok(file) => file,
            Err(TryLockError::WouldBlock) => return Err(UploadError::Busy),
            Err(TryLockError::Error(error)) => return Err(DiskError::new("lock", &path, error).into()),
        };
        // Checked again under the lock, because another request may just have finished.
        let size = self.status(attempt, digest)?.size;
        let offset = file.seek(SeekFrom::End(0)).map_err(DiskError::at("read", &path))?;
        if offset != given {
            return Err(UploadError::WrongOffset { given, offset });
        }
        Ok(Appender { file, path, offset, size, writeback: Writeback::default() })
    }

    /// Leaves a note that an upload was accepted; [`Incoming::list`] returns it.
    ///
    /// # Errors
    /// [`DiskError`] if the disk fails.
    pub fn note_accepted(
        &self,
        attempt: AttemptId,
        digest: Digest,
        size: u64,
        note: &str,
    ) -> Result<(), DiskError> {
        let path = self.attempt_dir(attempt).join(format!("{digest}-{size}{ACCEPTED_SUFFIX}"));
        fs::write(&path, note).map_err(DiskError::at("write", &path))
    }

    /// Removes an upload. Returns whether it existed.
    ///
    /// # Errors
    /// [`UploadError::Disk`] if the disk fails.
    pub fn remove(&self, attempt: AttemptId, digest: Digest) -> Result<bool, UploadError> {
        match self.find(attempt, digest)? {
            Some(upload) => Ok(disk::remove_file(&upload.path)?),
            None => Ok(false),
        }
    }

    /// Removes all uploads of an attempt.
    ///
    /// # Errors
    /// [`DiskError`] if the disk fails.
    pub fn remove_attempt(&self, attempt: AttemptId) -> Result<(), DiskError> {
        let dir = self.attempt_dir(attempt);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(DiskError::new("remove", &dir, error))
            }
            _ => Ok(()),
        }
    }

    /// All uploads; at startup these are leftovers.
    ///
    /// # Errors
    /// A directory cannot be read.
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

    /// Removes uploads that have received nothing since `before`, and returns them.
    ///
    /// # Errors
    /// [`DiskError`] if the disk fails.
    pub fn expire(&self, before: SystemTime) -> Result<Vec<Upload>, DiskError> {
        let mut old = self.list()?;
        old.retain(|upload| upload.modified < before);
        for upload in &old {
            disk::remove_file(&upload.path)?;
            // Fails if other uploads remain in the directory.
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
        Ok(uploads.find(|upload| upload.digest == digest && !upload.is_note))
    }

    fn of_attempt(&self, attempt: AttemptId) -> Result<Vec<Upload>, DiskError> {
        let dir = self.attempt_dir(attempt);
        let mut uploads = Vec::new();
        for name in names(&dir)? {
            let (plain, is_note) =
                name.strip_suffix(ACCEPTED_SUFFIX).map_or((name.as_str(), false), |name| (name, true));
            let parts = plain.split_once('-').map(|(digest, size)| (digest.parse(), size.parse()));
            let Some((Ok(digest), Ok(size))) = parts else { continue };
            let path = dir.join(&name);
            let meta = fs::metadata(&path).map_err(DiskError::at("look at", &path))?;
            let modified = meta.modified().map_err(DiskError::at("look at", &path))?;
            uploads.push(Upload { attempt, digest, size, offset: meta.len(), modified, path, is_note });
        }
        Ok(uploads)
    }
}

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

/// An upload opened for appending. Written bytes are kept even if the request is interrupted;
/// [`Appender::finish`] makes them durable.
#[derive(Debug)]
pub struct Appender {
    file: LockedFile,
    path: PathBuf,
    offset: u64,
    size: u64,
    writeback: Writeback,
}

impl Appender {
    /// Appends bytes.
    ///
    /// # Errors
    /// [`UploadError::TooMany`] if the bytes exceed the announced size (none are written then), or
    /// the disk fails.
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

    /// Makes the bytes durable. Returns the next offset, and whether the file is complete.
    ///
    /// # Errors
    /// Syncing fails.
    pub fn finish(mut self) -> Result<(u64, bool), UploadError> {
        let synced = self.writeback.finish().and_then(|()| self.file.sync_data());
        synced.map_err(DiskError::at("sync", &self.path))?;
        Ok((self.offset, self.offset == self.size))
    }
}

#[cfg(test)]
mod tests;
