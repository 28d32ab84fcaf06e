//! The high-water mark: the last event that is known to have been acknowledged, in a file
//! of this machine. A journal that comes back with less has lost something, and that must
//! not look like a fresh start.
//!
//! It is written after the journal has made the event durable, and without waiting for the
//! disk: a power cut may take the last marks, so that less is noticed, and never leaves a
//! mark that is ahead of the journal. The file is shorter than a sector, so a mark is
//! replaced whole or not at all; only the first of a process, which makes the file, is
//! synced, so that no empty one is left.

use crate::journal::JournalError;
use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};
use swarm_common::digest::Digest;

/// The file and what stands in it.
#[derive(Debug)]
pub(super) struct Mark {
    path: PathBuf,
    at: Option<(u64, Digest)>,
    /// Open once it was written.
    file: Option<File>,
}

impl Mark {
    /// Reads the mark, if there is one.
    ///
    /// # Errors
    /// The file cannot be read, or is none of ours.
    pub(super) fn open(path: &Path) -> Result<Self, JournalError> {
        let at = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unusable(path, &error)),
            Ok(text) => {
                let mark = text
                    .trim()
                    .split_once(' ')
                    .and_then(|(seq, hash)| Some((seq.parse::<u64>().ok()?, hash.parse::<Digest>().ok()?)));
                let hint = "it is not `NUMBER HASH`; remove it if the journal is whole";
                Some(mark.ok_or_else(|| unusable(path, &hint))?)
            }
        };
        Ok(Self { path: path.to_owned(), at, file: None })
    }

    /// Whether `found`, which the journal gives for the mark's event, is what was there.
    pub(super) fn fits(&self, found: Option<Digest>) -> bool {
        self.at.is_none_or(|(_, known)| found == Some(known))
    }

    /// The last event that is known to have been there.
    pub(super) fn at(&self) -> Option<(u64, Digest)> {
        self.at
    }

    /// Forgets what was known, so that whatever the journal holds counts.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub(super) fn discard(path: &Path) -> Result<(), JournalError> {
        match fs::remove_file(path) {
            Ok(()) => {
                tracing::warn!(mark = %path.display(), "the mark is removed; what the journal holds counts")
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unusable(path, &error)),
        }
        Ok(())
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until the mark is on the disk.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn sync(&self) -> Result<(), JournalError> {
        let synced = self.file.as_ref().map_or(Ok(()), File::sync_all);
        synced.map_err(|error| unusable(&self.path, &error))
    }

    /// Moves the mark on.
    pub(super) fn set(&mut self, at: (u64, Digest)) {
        if self.at == Some(at) || at.0 == 0 {
            return;
        }
        self.at = Some(at);
        // Always as long, so that it is changed in its place: with every batch there is one.
        let text = format!("{:020} {}\n", at.0, at.1);
        if let Err(error) = self.write(text.as_bytes()) {
            // The journal has the events; without the mark only their loss would be noticed less.
            tracing::warn!(%error, path = %self.path.display(), "the journal's mark cannot be written");
        }
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        if let Some(file) = &self.file {
            return file.write_all_at(text, 0);
        }
        let new = self.path.with_extension("mark.new");
        let mut file = File::create(&new)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        self.file = Some(file);
        Ok(())
    }
}

fn unusable(path: &Path, what: &dyn std::fmt::Display) -> JournalError {
    JournalError::Unusable { path: path.to_owned(), what: format!("its mark: {what}") }
}
