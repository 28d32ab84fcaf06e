//! The high-water mark: the last event that is known to have been acknowledged, in a file
//! of this machine. A Redis that comes back with less has lost something, and that must not
//! look like a fresh start.
//!
//! It is written without waiting for the disk: should a power cut take the last marks,
//! less is noticed, and nothing is wrong.

use crate::journal::JournalError;
use std::{
    fs::{self, File},
    io,
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
        let unusable =
            |what: String| JournalError::Unusable { path: path.to_owned(), what: format!("the mark {what}") };
        let at = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unusable(error.to_string())),
            Ok(text) => {
                let mark = text
                    .trim()
                    .split_once(' ')
                    .and_then(|(seq, hash)| Some((seq.parse::<u64>().ok()?, hash.parse::<Digest>().ok()?)));
                Some(
                    mark.ok_or_else(|| unusable("is not `NUMBER HASH`; remove it if Redis is whole".into()))?,
                )
            }
        };
        Ok(Self { path: path.to_owned(), at, file: None })
    }

    /// The last event that is known to have been there.
    pub(super) fn at(&self) -> Option<(u64, Digest)> {
        self.at
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
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
            // Redis has the events; without the mark only their loss would be noticed less.
            tracing::warn!(%error, path = %self.path.display(), "the journal's mark cannot be written");
        }
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        if let Some(file) = &self.file {
            return file.write_all_at(text, 0);
        }
        let new = self.path.with_extension("mark.new");
        fs::write(&new, text)?;
        fs::rename(&new, &self.path)?;
        self.file = Some(File::options().write(true).open(&self.path)?);
        Ok(())
    }
}
