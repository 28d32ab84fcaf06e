//! Logs of attempts, one file each. The drone names the offset of each piece, so that a piece sent twice is
//! stored once. A log is compressed some time after its attempt has ended, transparently for readers.
//!
//! [`tidy`] limits the logs by attempt, age and size.

mod reader;
mod tidy;

pub use reader::LogReader;
pub use tidy::{Bounds, LogState};

use crate::store::disk::{self, DiskError};
use std::{
    fs::{self, OpenOptions},
    io::{self, Seek as _, SeekFrom, Write as _},
    path::PathBuf,
};
use swarm_common::id::AttemptId;
use tokio::sync::watch;

/// Why a piece was refused.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The piece does not begin at the end of the log.
    #[error("the log has {offset} bytes")]
    WrongOffset {
        /// Offset of the next piece.
        offset: u64,
    },
    /// The log would exceed its size limit.
    #[error("a log has at most {limit} bytes")]
    TooLarge { limit: u64 },
    #[error(transparent)]
    Disk(#[from] DiskError),
}

#[derive(Debug)]
pub struct Logs {
    dir: PathBuf,
    /// Incremented when any log grows, to wake followers.
    grown: watch::Sender<u64>,
    /// Held while a log is compressed, decompressed or appended to.
    forms: std::sync::Mutex<()>,
}

impl Logs {
    /// Opens `dir`, which is created if needed.
    ///
    /// # Errors
    /// The directory cannot be created.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, DiskError> {
        let dir = dir.into();
        disk::make_dirs(&dir)?;
        Ok(Self { dir, grown: watch::Sender::new(0), forms: std::sync::Mutex::new(()) })
    }

    /// Appends a piece that begins at `offset`.
    ///
    /// # Errors
    /// The offset is wrong, the log would be too large, or the disk fails; none of the piece is
    /// stored then.
    pub fn append(&self, attempt: AttemptId, offset: u64, bytes: &[u8], limit: u64) -> Result<(), LogError> {
        let _whole = self.forms.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(length) = self.packed_length(attempt)? {
            // A drone that was unreachable may deliver the last lines of an attempt that ended long ago.
            if length != offset {
                return Err(LogError::WrongOffset { offset: length });
            }
            if bytes.is_empty() {
                return Ok(());
            }
            self.unpack(attempt)?;
        }
        let path = self.path(attempt);
        let opened = OpenOptions::new().append(true).create(true).open(&path);
        let mut file = opened.map_err(DiskError::at("open", &path))?;
        let end = file.seek(SeekFrom::End(0)).map_err(DiskError::at("read", &path))?;
        if end != offset {
            return Err(LogError::WrongOffset { offset: end });
        }
        if end + bytes.len() as u64 > limit {
            return Err(LogError::TooLarge { limit });
        }
        if let Err(error) = file.write_all(bytes) {
            // Remove a partial piece, so that the drone's next piece begins at the right offset.
            file.set_len(end).map_err(DiskError::at("cut", &path))?;
            return Err(DiskError::new("write", &path, error).into());
        }
        self.grown.send_modify(|pieces| *pieces += 1);
        Ok(())
    }

    /// A reader at the beginning of a log; `None` if there is no log.
    ///
    /// # Errors
    /// The disk fails.
    pub fn reader(&self, attempt: AttemptId) -> Result<Option<LogReader>, DiskError> {
        // Try the plain file again last, because the log may have been decompressed in between.
        for path in [self.path(attempt), self.packed(attempt), self.path(attempt)] {
            match LogReader::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(DiskError::new("open", &path, error)),
                Ok(reader) => return Ok(Some(reader)),
            }
        }
        Ok(None)
    }

    /// Changes whenever a log grows.
    #[must_use]
    pub fn grown(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    fn path(&self, attempt: AttemptId) -> PathBuf {
        self.dir.join(format!("{attempt}.log"))
    }

    fn packed(&self, attempt: AttemptId) -> PathBuf {
        self.dir.join(format!("{attempt}.log.zst"))
    }

    /// The uncompressed size of a compressed log; `None` if it is not compressed. If both forms exist, as
    /// after a crash, the plain file is used.
    fn packed_length(&self, attempt: AttemptId) -> Result<Option<u64>, DiskError> {
        let path = self.packed(attempt);
        if !path.exists() || self.path(attempt).exists() {
            return Ok(None);
        }
        reader::length(&path).map(Some).map_err(DiskError::at("read", &path))
    }
}

/// Removes a log in either form.
fn remove(logs: &Logs, attempt: AttemptId) -> Result<bool, DiskError> {
    let plain = disk::remove_file(&logs.path(attempt))?;
    Ok(disk::remove_file(&logs.packed(attempt))? || plain)
}

/// All logs in the directory: attempt, file metadata, and whether it is compressed.
fn list(logs: &Logs) -> Result<Vec<(AttemptId, fs::Metadata, bool)>, DiskError> {
    let dir = &logs.dir;
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(DiskError::at("list", dir))? {
        let entry = entry.map_err(DiskError::at("list", dir))?;
        let name = entry.file_name();
        let Some((attempt, form)) = name.to_str().and_then(|name| name.split_once('.')) else { continue };
        let (Ok(attempt), "log" | "log.zst") = (attempt.parse(), form) else { continue };
        match entry.metadata() {
            Ok(about) => found.push((attempt, about, form == "log.zst")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(DiskError::new("look at", &entry.path(), error)),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
