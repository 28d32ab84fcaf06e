//! Classification of disk errors, and durable file operations.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Why a file operation failed.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The disk is full or a quota is exceeded. Temporary; stored data is not affected.
    #[error("no space left on the disk of {}: free space there; the operation is retried", path.display())]
    Full { path: PathBuf },
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl DiskError {
    #[must_use]
    pub fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::Io { action, path, source },
        }
    }

    /// [`DiskError::new`] for use with `map_err`.
    pub fn at<'p>(action: &'static str, path: &'p Path) -> impl Fn(io::Error) -> Self + 'p {
        move |source| Self::new(action, path, source)
    }
}

/// Makes changes to a directory's entries durable.
///
/// # Errors
/// The directory cannot be opened or synced.
pub fn sync_dir(dir: &Path) -> Result<(), DiskError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(DiskError::at("sync", dir))
}

/// Opens a file for reading; `None` if it does not exist.
///
/// # Errors
/// The file exists and cannot be opened.
pub fn open(path: &Path) -> Result<Option<File>, DiskError> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some).map_err(DiskError::at("open", path)),
    }
}

/// Renames a file and makes both its content and its new name durable.
///
/// # Errors
/// Syncing or renaming fails; the old name may then still exist.
pub fn rename_durably(file: &File, from: &Path, to: &Path) -> Result<(), DiskError> {
    file.sync_all().map_err(DiskError::at("sync", from))?;
    fs::rename(from, to).map_err(DiskError::at("rename to", to))?;
    to.parent().map_or(Ok(()), sync_dir)
}

/// Creates a directory and its parents.
///
/// # Errors
/// The directory cannot be created.
pub fn make_dirs(dir: &Path) -> Result<(), DiskError> {
    fs::create_dir_all(dir).map_err(DiskError::at("make", dir))
}

/// Removes a file. Returns whether it existed.
///
/// # Errors
/// The file exists and cannot be removed.
pub fn remove_file(path: &Path) -> Result<bool, DiskError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(DiskError::new("remove", path, error)),
    }
}

/// Removes files older than `before` from a directory, except those whose names are `kept`. Returns how many.
///
/// # Errors
/// The directory cannot be read, or a file cannot be removed.
pub fn retain(dir: &Path, before: SystemTime, kept: impl Fn(&str) -> bool) -> Result<usize, DiskError> {
    let mut removed = 0;
    for entry in fs::read_dir(dir).map_err(DiskError::at("list", dir))? {
        let entry = entry.map_err(DiskError::at("list", dir))?;
        let modified = entry.metadata().and_then(|meta| meta.modified());
        let is_old = modified.map_err(DiskError::at("look at", &entry.path()))? < before;
        if is_old && !entry.file_name().to_str().is_some_and(&kept) {
            removed += usize::from(remove_file(&entry.path())?);
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_full_disk_has_its_own_error() {
        let path = Path::new("/dev/full");
        let error = fs::OpenOptions::new().write(true).open(path).unwrap().write_all(b"x").unwrap_err();
        assert!(matches!(DiskError::new("write", path, error), DiskError::Full { .. }));
        let error = File::open("/nonexistent").unwrap_err();
        assert!(matches!(DiskError::new("open", path, error), DiskError::Io { .. }));
    }
}
