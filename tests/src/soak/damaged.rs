//! Changed bytes, and which files clients may therefore find damaged.

use anyhow::{Context as _, Result};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

/// The files that clients may find damaged because the test changed them.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownDamage(Arc<Mutex<Damaged>>);

#[derive(Debug, Default)]
pub(super) struct Damaged {
    /// MD5 digests of damaged packages.
    pub(super) packages: BTreeSet<String>,
    /// Until when the index counts as damaged.
    pub(super) index_until: Option<Instant>,
    /// A backup from before the first index was restored, and no index has been published since.
    pub(super) no_index: bool,
}

impl KnownDamage {
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Damaged) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the package with this MD5 digest was damaged at any time.
    pub(super) fn has(&self, md5: &str) -> bool {
        self.with(|damaged| damaged.packages.contains(md5))
    }

    /// Whether the index is damaged, or was until a moment ago.
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
    /// Changes a byte of a file like a failing disk: the modification time stays the same.
    pub(super) fn make(path: PathBuf, at: impl FnOnce(&[u8]) -> Option<usize>) -> Result<Option<Self>> {
        let whole = fs::read(&path).with_context(|| path.display().to_string())?;
        let Some(at) = at(&whole) else { return Ok(None) };
        let damage = Self { path, at, whole };
        damage.write(damage.whole[at] ^ 1)?;
        Ok(Some(damage))
    }

    /// Restores the byte, as from a good copy.
    pub(super) fn mend(&self) -> Result<()> {
        self.write(self.whole[self.at])
    }

    fn write(&self, byte: u8) -> Result<()> {
        let date = fs::metadata(&self.path)?.modified()?;
        let file = File::options().write(true).open(&self.path)?;
        file.write_all_at(&[byte], self.at as u64)?;
        Ok(file.set_modified(date)?)
    }

    /// Whether the file still exists in its damaged form.
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
