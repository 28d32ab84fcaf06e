//! Keeping logs small and few: compressed after their attempt, gone with it, and within a
//! bound of age and of size together.

use super::{Logs, list, remove};
use crate::artifact::disk::{self, DiskError};
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::Path,
    sync::PoisonError,
    time::{Duration, SystemTime},
};
use swarm_common::id::AttemptId;

/// A log that nobody wrote to for this long may be compressed when its attempt has ended:
/// a drone delivers the last lines shortly after its report.
const QUIET: Duration = Duration::from_secs(600);

/// Favours speed: logs shrink to a tenth either way.
const LEVEL: i32 = 3;

/// What becomes of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its attempt may go on.
    Open,
    /// Its attempt has ended.
    Ended,
    /// Nobody knows its attempt any more.
    Forgotten,
}

/// What the logs of ended attempts may come to.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Since the last line.
    pub age: Duration,
    /// Bytes on disk of all logs.
    pub total: u64,
}

impl Logs {
    /// Compresses what has ended, removes what is forgotten or too much. How many logs went.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn tidy(
        &self,
        now: SystemTime,
        bounds: Bounds,
        fate: impl Fn(AttemptId) -> Fate,
    ) -> Result<usize, DiskError> {
        let mut gone = 0;
        for (attempt, about, is_packed) in list(self)? {
            let quiet = quiet_for(now, &about);
            match fate(attempt) {
                Fate::Forgotten => gone += usize::from(remove(self, attempt)?),
                Fate::Ended if quiet > bounds.age => gone += usize::from(remove(self, attempt)?),
                Fate::Ended if !is_packed && quiet >= QUIET => self.pack(attempt)?,
                Fate::Ended | Fate::Open => {}
            }
        }
        Ok(gone + self.shrink(now, bounds.total, fate)?)
    }

    /// Removes the oldest logs of ended attempts until all together are small enough.
    fn shrink(
        &self,
        now: SystemTime,
        bound: u64,
        fate: impl Fn(AttemptId) -> Fate,
    ) -> Result<usize, DiskError> {
        let mut total = 0;
        let mut ended = BTreeMap::new();
        for (attempt, about, _) in list(self)? {
            total += about.len();
            if fate(attempt) == Fate::Ended {
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

    /// The caller holds the lock.
    pub(super) fn unpack(&self, attempt: AttemptId) -> Result<(), DiskError> {
        let from = self.packed(attempt);
        self.change(&from, &self.path(attempt), |from, to| zstd::stream::copy_decode(from, to))
    }

    /// Writes a log anew in the other form. It is whole in one form or the other at any time.
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
            // Its age is that of its last line.
            file.set_modified(source.metadata()?.modified()?)?;
            Ok(file)
        })();
        let file = written.map_err(|error| {
            // Most likely the disk is full, and half a file must not keep it so.
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
