//! Disk errors that callers answer differently, and how files become durable.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// Why a file operation failed.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// No space is left (or a quota is used up). Passes when space is made; nothing that
    /// was stored before is harmed.
    #[error("no space left on the disk of {}: free some space there, the operation is retried", path.display())]
    Full {
        /// What was being written.
        path: PathBuf,
    },
    /// Anything else.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

impl DiskError {
    /// Sorts an error of the operating system.
    #[must_use]
    pub fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::Io { action, path, source },
        }
    }

    /// For `map_err`.
    pub fn at<'p>(action: &'static str, path: &'p Path) -> impl Fn(io::Error) -> Self + 'p {
        move |source| Self::new(action, path, source)
    }
}

/// Makes the names in a directory durable.
///
/// # Errors
/// If the directory cannot be opened or synced.
pub fn sync_dir(dir: &Path) -> Result<(), DiskError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(DiskError::at("sync", dir))
}

/// Renames and makes both the content and the new name durable.
///
/// # Errors
/// If syncing or renaming fails; then the old name may still be there.
pub fn rename_durably(file: &File, from: &Path, to: &Path) -> Result<(), DiskError> {
    file.sync_all().map_err(DiskError::at("sync", from))?;
    fs::rename(from, to).map_err(DiskError::at("rename to", to))?;
    to.parent().map_or(Ok(()), sync_dir)
}

/// Makes a directory and its parents.
///
/// # Errors
/// If that fails.
pub fn make_dirs(dir: &Path) -> Result<(), DiskError> {
    fs::create_dir_all(dir).map_err(DiskError::at("make", dir))
}

/// Removes a file. Whether it was there.
///
/// # Errors
/// If it is there and cannot be removed.
pub fn remove_file(path: &Path) -> Result<bool, DiskError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(DiskError::new("remove", path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_full_disk_has_its_own_error() {
        // The kernel's own full device.
        let path = Path::new("/dev/full");
        let error = fs::OpenOptions::new().write(true).open(path).unwrap().write_all(b"x").unwrap_err();
        assert!(matches!(DiskError::new("write", path, error), DiskError::Full { .. }));
        let error = File::open("/nonexistent").unwrap_err();
        assert!(matches!(DiskError::new("open", path, error), DiskError::Io { .. }));
    }
}
