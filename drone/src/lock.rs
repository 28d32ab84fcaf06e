//! One drone for one state directory.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::Path,
};

/// Why a state directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another drone has it.
    #[error("another drone (process {holder}) works in {dir}: stop it first")]
    Held {
        /// The state directory.
        dir: String,
        /// The process id of the other drone, as it wrote it down.
        holder: String,
    },
    /// The system does not let us.
    #[error("the state directory {dir} cannot be used: {source}")]
    Io {
        /// The state directory.
        dir: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Held as long as it lives; the system lets go of it however the process ends.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "it is held, not read")] File);

impl Lock {
    /// Takes the lock of a state directory, which is made if need be.
    ///
    /// # Errors
    /// Another drone holds it, or the directory cannot be used.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { dir: dir.display().to_string(), source };
        fs::create_dir_all(dir).map_err(failed)?;
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(dir.join("lock")).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(failed)?;
                let dir = dir.display().to_string();
                return Err(LockError::Held { dir, holder: holder.trim().to_owned() });
            }
        }
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
        let said = Lock::take(&state).unwrap_err();
        assert!(matches!(said, LockError::Held { .. }));
        assert!(said.to_string().contains(&format!("process {}", std::process::id())), "{said}");
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
