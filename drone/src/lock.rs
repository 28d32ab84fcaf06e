//! Ensures that only one drone uses a state directory.

use std::{
    fs::{self, OpenOptions, TryLockError},
    io::{Seek, Write},
    path::Path,
};
use swarm_daemon::locked::LockedFile;

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another drone holds the lock.
    #[error("another drone (process {holder}) is using {dir}: stop it first")]
    Held {
        dir: String,
        /// The process ID in the lock file.
        holder: String,
    },
    /// The lock file cannot be used.
    #[error("cannot use the state directory {dir}: {source}")]
    Io { dir: String, source: std::io::Error },
}

/// A held lock. The kernel releases it when the process ends, in whatever way.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "it is held, not read")] LockedFile);

impl Lock {
    /// Locks a state directory, creating it if necessary.
    ///
    /// # Errors
    /// Another drone holds the lock, or the directory cannot be used.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { dir: dir.display().to_string(), source };
        fs::create_dir_all(dir).map_err(failed)?;
        let mut options = OpenOptions::new();
        let path = dir.join("lock");
        let file = options.write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        let mut file = match LockedFile::try_lock(file) {
            Ok(file) => file,
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&path).map_err(failed)?.trim().to_owned();
                return Err(LockError::Held { dir: dir.display().to_string(), holder });
            }
        };
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_was_first_and_gets_it_when_that_one_ends() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let first = Lock::take(&state).unwrap();
        let error = Lock::take(&state).unwrap_err();
        assert!(matches!(error, LockError::Held { .. }));
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        Lock::take(&state).unwrap();
    }

    #[test]
    fn a_state_directory_that_is_a_file_is_not_another_drone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(Lock::take(&file), Err(LockError::Io { .. })));
    }
}
