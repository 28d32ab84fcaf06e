//! A changed byte, and what clients may find damaged.

use anyhow::{Context as _, Result};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

/// What clients may find damaged, as a disk has changed it.
#[derive(Debug, Clone, Default)]
pub(super) struct Known(Arc<Mutex<Damaged>>);

#[derive(Debug, Default)]
pub(super) struct Damaged {
    /// MD5s of packages.
    pub(super) packages: BTreeSet<String>,
    /// Until when the index counts as damaged.
    pub(super) index_until: Option<Instant>,
    /// A backup that is older than the first index was restored, and there has been none since.
    pub(super) no_index: bool,
}

impl Known {
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Damaged) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the package with this MD5 was damaged at any time.
    pub(super) fn has(&self, md5: &str) -> bool {
        self.with(|damaged| damaged.packages.contains(md5))
    }

    /// Whether the index is damaged, or was a moment ago.
    pub(super) fn has_index(&self) -> bool {
        self.with(|damaged| damaged.index_until.is_some_and(|until| Instant::now() < until))
    }
}

/// A changed byte.
#[derive(Debug)]
pub(super) struct Damage {
    pub(super) path: PathBuf,
    pub(super) at: usize,
    pub(super) whole: Vec<u8>,
}

impl Damage {
    /// Changes a byte of a file as a disk does it: its date stays.
    pub(super) fn make(path: PathBuf, at: impl FnOnce(&[u8]) -> Option<usize>) -> Result<Option<Self>> {
        let whole = fs::read(&path).with_context(|| path.display().to_string())?;
        let Some(at) = at(&whole) else { return Ok(None) };
        let damage = Self { path, at, whole };
        damage.write(damage.whole[at] ^ 1)?;
        Ok(Some(damage))
    }

    /// Puts the byte back, as from a good copy.
    pub(super) fn mend(&self) -> Result<()> {
        self.write(self.whole[self.at])
    }

    fn write(&self, byte: u8) -> Result<()> {
        let date = fs::metadata(&self.path)?.modified()?;
        let file = File::options().write(true).open(&self.path)?;
        file.write_all_at(&[byte], self.at as u64)?;
        Ok(file.set_modified(date)?)
    }

    /// Whether the file is still there as it was damaged.
    pub(super) fn stands(&self) -> bool {
        fs::read(&self.path).is_ok_and(|now| {
            now.len() == self.whole.len()
                && now
                    .iter()
                    .zip(&self.whole)
                    .enumerate()
                    .all(|(n, (now, was))| (now == was) == (n != self.at))
        })
    }
}
