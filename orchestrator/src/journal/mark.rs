//! The high-water mark: the last event known to be acknowledged, in a file on this machine. If the
//! journal comes back with less, it has lost events, and that must not look like a fresh start.
//!
//! The mark is written after the event is durable in the journal, and without syncing. A power failure may
//! lose the latest marks, so that a loss goes undetected, but the mark is never ahead of the journal. The
//! file is shorter than a sector, so a mark is replaced completely or not at all; only the first write of a
//! process, which creates the file, is synced, so that no empty file remains.
//!
//! Its last word is a check of the others, so that a damaged mark is not taken for a damaged journal.
//!
//! A mark contains the time at which it was written, and no program can set a file's change time
//! (ctime). So a copied mark, such as one from a backup, is recognised, and with it that more may
//! have been acknowledged than the journal contains.

use crate::journal::JournalError;
use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};
use swarm_common::digest::Digest;

/// Maximum difference between the time in a mark and its file's change time.
const TOLERANCE_MS: u64 = 2000;

/// The file and its content.
#[derive(Debug)]
pub(super) struct Mark {
    path: Option<PathBuf>,
    at: Option<(u64, Digest)>,
    is_copy: bool,
    /// Open after the first write.
    file: Option<File>,
}

impl Mark {
    /// Reads the mark, if there is one. Without a path nothing is read or kept.
    ///
    /// # Errors
    /// The file cannot be read or is not a mark.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, JournalError> {
        let mut mark = Self { path: path.map(Path::to_owned), at: None, is_copy: false, file: None };
        let Some(path) = path else { return Ok(mark) };
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(mark),
            other => other.map_err(|error| unusable(path, &error))?,
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let (seq, hash, written_ms) = match words[..] {
            [seq, hash, written, check] if check == self::check(seq, hash, written) => {
                (seq.parse(), hash.parse(), written.parse::<u64>().ok())
            }
            // Written by a version without a check, or without a time.
            [seq, hash, written] if written.len() == 20 && written.parse::<u64>().is_ok() => {
                (seq.parse(), hash.parse(), written.parse::<u64>().ok())
            }
            [seq, hash] => (seq.parse(), hash.parse(), None),
            _ => ("".parse(), "".parse(), None),
        };
        let (Ok(seq), Ok(hash)) = (seq, hash) else {
            return Err(unusable(
                path,
                &"it is damaged, so events that the journal lost would not be noticed. Restore the whole state \
                  directory from its newest backup, or start once with --accept-new to continue with what the \
                  journal has",
            ));
        };
        let file = fs::metadata(path).map_err(|error| unusable(path, &error))?;
        let changed_ms = file.ctime().saturating_mul(1000).saturating_add(file.ctime_nsec() / 1_000_000);
        let since = |ms: u64| changed_ms.unsigned_abs().abs_diff(ms);
        mark.is_copy = written_ms.is_none_or(|ms| since(ms) > TOLERANCE_MS);
        mark.at = Some((seq, hash)).filter(|(seq, _)| *seq > 0);
        Ok(mark)
    }

    /// Whether `found`, the hash that the journal has for the marked event, matches the mark.
    pub(super) fn fits(&self, found: Option<Digest>) -> bool {
        self.at.is_none_or(|(_, known)| found == Some(known))
    }

    /// The last event known to be acknowledged.
    pub(super) fn at(&self) -> Option<(u64, Digest)> {
        self.at
    }

    /// Whether the mark is a copy or has been discarded.
    pub(super) fn is_copy(&self) -> bool {
        self.is_copy
    }

    /// Discards the mark, so that the journal is accepted as it is.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn discard(path: &Path) -> Result<(), JournalError> {
        if !path.exists() {
            return Ok(());
        }
        tracing::warn!(mark = %path.display(), "discarding the record of acknowledged events; the \
            journal's content is used as it is");
        fs::write(path, text((0, Digest([0; 32])), 0)).map_err(|error| unusable(path, &error))
    }

    /// Waits until the mark is on disk.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn sync(&self) -> Result<(), JournalError> {
        let synced = self.file.as_ref().map_or(Ok(()), File::sync_all);
        synced.map_err(|error| unusable(self.path.as_deref().unwrap_or(Path::new("")), &error))
    }

    pub(super) fn set(&mut self, at: (u64, Digest)) {
        if self.at == Some(at) || at.0 == 0 {
            return;
        }
        self.at = Some(at);
        let Some(path) = self.path.clone() else { return };
        if let Err(error) = self.write(&path, at) {
            // The journal has the events; without the mark, only a loss could go undetected.
            tracing::warn!(%error, path = %path.display(), "cannot write the journal's mark");
        }
    }

    fn write(&mut self, path: &Path, at: (u64, Digest)) -> io::Result<()> {
        let text = || text(at, UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis()));
        if self.file.is_none() {
            let new = path.with_extension("mark.new");
            let mut file = File::create(&new)?;
            file.write_all(text().as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, path)?;
            self.file = Some(file);
        }
        self.file.as_ref().map_or(Ok(()), |file| file.write_all_at(text().as_bytes(), 0))
    }
}

/// The content of the file. Its length is fixed, because each batch overwrites it in place.
fn text((seq, hash): (u64, Digest), now_ms: u128) -> String {
    let (seq, hash, now) = (format!("{seq:020}"), hash.to_string(), format!("{now_ms:020}"));
    format!("{seq} {hash} {now} {}\n", check(&seq, &hash, &now))
}

/// The first 16 digits of the SHA-256 of a mark's other words.
fn check(seq: &str, hash: &str, written: &str) -> String {
    let digest = Digest::of(format!("{seq} {hash} {written}").as_bytes()).to_string();
    digest.get(..16).unwrap_or_default().to_owned()
}

fn unusable(path: &Path, what: &dyn std::fmt::Display) -> JournalError {
    JournalError::Unusable { path: path.to_owned(), what: format!("its mark: {what}") }
}
