//! Compresses logs after their attempts have ended, removes those without an attempt, and limits
//! age and total size.

use super::{Logs, list, remove};
use crate::store::disk::{self, DiskError};
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::Path,
    sync::PoisonError,
    time::{Duration, SystemTime},
};
use swarm_common::id::AttemptId;

/// How long a log must be unchanged before it is compressed. A drone may deliver the last lines shortly after
/// its report.
const QUIET: Duration = Duration::from_secs(600);

/// Chosen for speed: logs shrink to a tenth at any compression level.
const LEVEL: i32 = 3;

/// What may be done with a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogState {
    /// Its attempt may still be running.
    Open,
    Ended,
    /// Its attempt is no longer known.
    Forgotten,
}

/// Limits for the logs of ended attempts.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Maximum time since the last line.
    pub age: Duration,
    /// Maximum size of all logs on disk in bytes.
    pub total: u64,
}

impl Logs {
    /// Compresses the logs of ended attempts and removes those that are unknown or exceed the
    /// limits. Returns the number of removed logs.
    ///
    /// # Errors
    /// The disk fails.
    pub fn tidy(
        &self,
        now: SystemTime,
        bounds: Bounds,
        state: impl Fn(AttemptId) -> LogState,
    ) -> Result<usize, DiskError> {
        let mut gone = 0;
        for (attempt, about, is_packed) in list(self)? {
            let quiet = quiet_for(now, &about);
            match state(attempt) {
                LogState::Forgotten => gone += usize::from(remove(self, attempt)?),
                LogState::Ended if quiet > bounds.age => gone += usize::from(remove(self, attempt)?),
                LogState::Ended if !is_packed && quiet >= QUIET => self.pack(attempt)?,
                LogState::Ended | LogState::Open => {}
            }
        }
        Ok(gone + self.shrink(now, bounds.total, state)?)
    }

    /// Removes the oldest logs of ended attempts until the total is within the limit.
    fn shrink(
        &self,
        now: SystemTime,
        bound: u64,
        state: impl Fn(AttemptId) -> LogState,
    ) -> Result<usize, DiskError> {
        let mut total = 0;
        let mut ended = BTreeMap::new();
        for (attempt, about, _) in list(self)? {
            total += about.len();
            if state(attempt) == LogState::Ended {
                *ended.entry((std::cmp::Reverse(quiet_for(now, &about)), attempt)).or_insert(0) +=
                    about.len();
            }
        }
        let mut gone = 0;
        for ((_, attempt), bytes) in ended {
            if total <= bound {
                break;
            }
            gone += usize::from(remove(self, attempt)?);
            total -= bytes;
        }
        Ok(gone)
    }

    fn pack(&self, attempt: AttemptId) -> Result<(), DiskError> {
        let _whole = self.forms.lock().unwrap_or_else(PoisonError::into_inner);
        let from = self.path(attempt);
        self.change(&from, &self.packed(attempt), |from, to| zstd::stream::copy_encode(from, to, LEVEL))
    }

    /// Decompresses a log. The caller must hold the lock.
    pub(super) fn unpack(&self, attempt: AttemptId) -> Result<(), DiskError> {
        let from = self.packed(attempt);
        self.change(&from, &self.path(attempt), |from, to| zstd::stream::copy_decode(from, to))
    }

    /// Converts a log to the other form. At any time, one of the forms is complete.
    fn change(
        &self,
        from: &Path,
        to: &Path,
        copy: impl FnOnce(&File, &File) -> io::Result<()>,
    ) -> Result<(), DiskError> {
        let source = File::open(from).map_err(DiskError::at("open", from))?;
        let partial = to.with_extension("partial");
        let written = (|| {
            let file = File::create(&partial)?;
            copy(&source, &file)?;
            // The modification time is that of the last line, which determines the age.
            file.set_modified(source.metadata()?.modified()?)?;
            Ok(file)
        })();
        let file = written.map_err(|error| {
            // The disk is probably full. Remove the partial file, which occupies space.
            let _ = std::fs::remove_file(&partial);
            DiskError::new("write", &partial, error)
        })?;
        disk::rename_durably(&file, &partial, to)?;
        disk::remove_file(from).map(drop)
    }
}

fn quiet_for(now: SystemTime, about: &std::fs::Metadata) -> Duration {
    about.modified().ok().and_then(|at| now.duration_since(at).ok()).unwrap_or_default()
}
