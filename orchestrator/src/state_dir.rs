//! The state directory, and that only one orchestrator works in it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Everything that must survive a restart is below this directory. The lock is held as
/// long as this value lives; the system lets go of it however the process ends.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: File,
}

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// Another orchestrator works in it.
    #[error(
        "another orchestrator (process {holder}) works in {path}: stop it first, or give this one its own state_dir"
    )]
    Held {
        /// The directory.
        path: PathBuf,
        /// Who holds it.
        holder: String,
    },
    /// It cannot be made or opened.
    #[error("the state directory {path} cannot be used: {source}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl StateDir {
    /// Makes the directory if need be, readable for its owner only, and locks it.
    ///
    /// # Errors
    /// Another orchestrator has it, or the system refuses.
    pub fn open(path: &Path) -> Result<Self, StateDirError> {
        let io = |source| StateDirError::Io { path: path.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
        let file = path.join("lock");
        let mut lock = OpenOptions::new();
        let lock = lock.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut lock = lock.open(file).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                lock.read_to_string(&mut holder).map_err(io)?;
                let holder = holder.trim().to_owned();
                return Err(StateDirError::Held { path: path.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        lock.set_len(0).and_then(|()| lock.rewind()).map_err(io)?;
        writeln!(lock, "{}", std::process::id()).map_err(io)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// A path below the directory.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_orchestrator_is_told_who_is_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateDir::open(&folder.path().join("state")).unwrap();
        let error = StateDir::open(first.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        assert!(StateDir::open(&folder.path().join("state")).is_ok());
    }
}
