//! The state directory. It is locked, so that only one orchestrator uses it.

use std::{
    fs::{self, OpenOptions, TryLockError},
    io::{Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use swarm_daemon::locked::LockedFile;

/// A locked state directory. The lock lasts as long as this value; the kernel releases it however the process
/// ends.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: LockedFile,
}

#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    #[error(
        "another orchestrator (process {holder}) is using {path}: stop it first, or give this one its own \
         state_dir"
    )]
    Held {
        path: PathBuf,
        /// Process ID of the lock's holder.
        holder: String,
    },
    /// The directory cannot be created, opened or locked.
    #[error("cannot use the state directory {path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
}

impl StateDir {
    /// Creates the directory if needed, accessible only to its owner, and locks it.
    ///
    /// # Errors
    /// Another orchestrator holds the lock, or the directory cannot be used.
    pub fn open(path: &Path) -> Result<Self, StateDirError> {
        let io = |source| StateDirError::Io { path: path.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
        let file = path.join("lock");
        let mut lock = OpenOptions::new();
        let lock = lock.write(true).create(true).truncate(false).mode(0o600).open(&file).map_err(io)?;
        let mut lock = match LockedFile::try_lock(lock) {
            Ok(lock) => lock,
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&file).map_err(io)?.trim().to_owned();
                return Err(StateDirError::Held { path: path.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        };
        lock.set_len(0).and_then(|()| lock.rewind()).map_err(io)?;
        writeln!(lock, "{}", std::process::id()).map_err(io)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

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
