//! Logs of attempts: one file each, appended to at an offset that the drone names, so that
//! a piece which is sent twice is stored once.

use crate::artifact::disk::{self, DiskError};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::PathBuf,
};
use swarm_common::id::AttemptId;
use tokio::sync::watch;

/// Why a piece was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It does not begin where the log ends.
    #[error("the log has {offset} bytes")]
    WrongOffset {
        /// Where the next piece must begin.
        offset: u64,
    },
    /// The log would become too large.
    #[error("a log has at most {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: u64,
    },
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// The directory of logs.
#[derive(Debug)]
pub struct Logs {
    dir: PathBuf,
    /// Counts pieces of any log, so that followers wake.
    grown: watch::Sender<u64>,
}

impl Logs {
    /// Uses `dir`, which is made if needed.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, DiskError> {
        let dir = dir.into();
        disk::make_dirs(&dir)?;
        Ok(Self { dir, grown: watch::Sender::new(0) })
    }

    /// Appends a piece that begins at `offset`.
    ///
    /// # Errors
    /// It does not fit on or is too much, or the disk fails; then nothing of it is stored.
    pub fn append(&self, attempt: AttemptId, offset: u64, bytes: &[u8], limit: u64) -> Result<(), LogError> {
        let path = self.path(attempt);
        let opened = OpenOptions::new().append(true).create(true).open(&path);
        let mut file = opened.map_err(DiskError::at("open", &path))?;
        file.lock().map_err(DiskError::at("lock", &path))?;
        let end = file.seek(SeekFrom::End(0)).map_err(DiskError::at("read", &path))?;
        if end != offset {
            return Err(LogError::WrongOffset { offset: end });
        }
        if end + bytes.len() as u64 > limit {
            return Err(LogError::TooLarge { limit });
        }
        if let Err(error) = file.write_all(bytes) {
            // Half a piece would make the drone's next one begin at a wrong place.
            file.set_len(end).map_err(DiskError::at("cut", &path))?;
            return Err(DiskError::new("write", &path, error).into());
        }
        self.grown.send_modify(|pieces| *pieces += 1);
        Ok(())
    }

    /// Up to `most` bytes of a log from `offset` on; `None` if there is no log.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn read(&self, attempt: AttemptId, offset: u64, most: u64) -> Result<Option<Vec<u8>>, DiskError> {
        let path = self.path(attempt);
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(DiskError::at("open", &path))?,
        };
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(offset)).map_err(DiskError::at("read", &path))?;
        file.take(most).read_to_end(&mut bytes).map_err(DiskError::at("read", &path))?;
        Ok(Some(bytes))
    }

    /// Wakes whenever any log has grown.
    #[must_use]
    pub fn grown(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    /// Removes the logs of attempts that are no longer kept. How many went.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn retain(&self, kept: impl Fn(AttemptId) -> bool) -> Result<usize, DiskError> {
        let mut gone = 0;
        for entry in fs::read_dir(&self.dir).map_err(DiskError::at("list", &self.dir))? {
            let entry = entry.map_err(DiskError::at("list", &self.dir))?;
            let name = entry.file_name();
            let attempt = name.to_str().and_then(|name| name.strip_suffix(".log")?.parse().ok());
            if attempt.is_some_and(|attempt| !kept(attempt)) {
                gone += usize::from(disk::remove_file(&entry.path())?);
            }
        }
        Ok(gone)
    }

    fn path(&self, attempt: AttemptId) -> PathBuf {
        self.dir.join(format!("{attempt}.log"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: AttemptId = AttemptId(3);

    #[test]
    fn a_piece_that_comes_twice_is_stored_once() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path().join("logs")).unwrap();
        logs.append(A, 0, b"one\n", 100).unwrap();
        assert!(matches!(logs.append(A, 0, b"one\n", 100), Err(LogError::WrongOffset { offset: 4 })));
        logs.append(A, 4, b"two\n", 100).unwrap();
        assert_eq!(logs.read(A, 2, 4).unwrap().unwrap(), b"e\ntw");
        assert_eq!(logs.read(AttemptId(4), 0, 4).unwrap(), None);
    }

    #[test]
    fn a_log_has_a_bound_and_goes_with_its_attempt() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path().join("logs")).unwrap();
        logs.append(A, 0, b"12345678", 10).unwrap();
        assert!(matches!(logs.append(A, 8, b"123", 10), Err(LogError::TooLarge { limit: 10 })));
        assert_eq!(logs.retain(|_| true).unwrap(), 0);
        assert_eq!(logs.retain(|attempt| attempt != A).unwrap(), 1);
        assert_eq!(logs.read(A, 0, 1).unwrap(), None);
    }
}
