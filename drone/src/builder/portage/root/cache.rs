//! Caches that outlive build roots: distfiles and ebuild metadata.

use crate::{
    buildroot::{RootError, make_dir},
    config::BuilderConfig,
};
use std::{
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

/// How long the metadata of an unused snapshot is kept.
const METADATA_AGE: Duration = Duration::from_secs(21 * 24 * 3600);
/// Creating and removing this file updates the directory's modification time, which records the last use.
const USED: &str = ".used";

/// Marks the metadata directory `dir` as used, creating it if necessary.
///
/// A new snapshot starts with the metadata that was used most recently. Portage validates each entry against
/// its ebuild and eclasses and regenerates only those that changed.
pub(super) fn use_metadata(dir: &Path) -> Result<(), RootError> {
    if let (false, Some(parent)) = (dir.exists(), dir.parent()) {
        make_dir(parent)?;
        let begun = tempfile::Builder::new().prefix(".new").tempdir_in(parent);
        let begun = begun.map_err(RootError::io("make a directory in", parent))?;
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(begun.path(), mode).map_err(RootError::io("open up", begun.path()))?;
        if let Some(last) = last_used(parent) {
            link_all(&last, begun.path()).map_err(RootError::io("take over", &last))?;
        }
        match fs::rename(begun.path(), dir) {
            // Another attempt with the same snapshot created it first.
            Err(_) if dir.is_dir() => {}
            renamed => renamed.map_err(RootError::io("make", dir))?,
        }
    }
    // A new name in the directory updates its modification time.
    let used = dir.join(USED);
    fs::write(&used, "").map_err(RootError::io("write", &used))?;
    match fs::remove_file(&used) {
        // Another attempt with the same snapshot removed the file.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(RootError::io("remove", &used)),
    }
}

/// The most recently used directory in `parent`.
fn last_used(parent: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(parent).ok()?.flatten();
    let whole = entries.filter(|entry| !entry.file_name().as_bytes().starts_with(b"."));
    whole.map(|entry| entry.path()).max_by_key(|path| path.metadata().and_then(|found| found.modified()).ok())
}

/// Hard-links all files below `from` to `to`. This is safe, because Portage replaces these files and never
/// writes into them.
fn link_all(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let at = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&at)?;
            // The user that Portage runs as needs the same access.
            fs::set_permissions(&at, entry.metadata()?.permissions())?;
            link_all(&entry.path(), &at)?;
        } else if entry.file_type()?.is_file() {
            fs::hard_link(entry.path(), at)?;
        }
    }
    Ok(())
}

/// Moves distfiles that an attempt downloaded to the shared directory. They need no check here:
/// Portage verifies the digest at each use.
///
/// # Errors
/// A directory cannot be read, or a file cannot be moved.
pub fn keep_distfiles(from: &Path, to: &Path) -> Result<(), RootError> {
    let entries = match fs::read_dir(from) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(RootError::io("read", from))?,
    };
    for entry in entries {
        let entry = entry.map_err(RootError::io("read", from))?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        // Partial downloads, and files with a wrong digest.
        let unfit = text.starts_with('.') || text.contains("_checksum_failure_") || text.contains(".__");
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        let at = to.join(&name);
        if unfit || !is_file || at.exists() {
            continue;
        }
        fs::rename(entry.path(), &at).map_err(RootError::io("keep", at))?;
    }
    Ok(())
}

/// Removes ebuild metadata of snapshots that were not used for three weeks. Distfiles are kept,
/// because they may no longer be available upstream.
///
/// # Errors
/// The cache cannot be read or changed. A missing cache is no error.
pub fn prune_cache(config: &BuilderConfig) -> Result<(), RootError> {
    let dir = config.cache_dir.join("metadata");
    let entries = match fs::read_dir(&dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(RootError::io("read", &dir))?,
    };
    for path in entries.flatten().map(|e| e.path()) {
        let changed = path.metadata().and_then(|m| m.modified()).map_err(RootError::io("look at", &path))?;
        if changed.elapsed().is_ok_and(|age| age > METADATA_AGE) {
            fs::remove_dir_all(&path).map_err(RootError::io("remove", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, time::SystemTime};

    #[test]
    fn only_metadata_that_was_not_used_for_long_is_pruned() {
        let dir = tempfile::tempdir().unwrap();
        let config = BuilderConfig { cache_dir: dir.path().into(), ..BuilderConfig::default() };
        prune_cache(&config).unwrap();
        let of = |name: &str| dir.path().join("metadata").join(name);
        for name in ["old", "new", "again"] {
            make_dir(&of(name)).unwrap();
        }
        make_dir(&dir.path().join("distfiles")).unwrap();
        for name in ["old", "again"] {
            File::open(of(name)).unwrap().set_modified(SystemTime::now() - METADATA_AGE * 2).unwrap();
        }
        use_metadata(&of("again")).unwrap();
        prune_cache(&config).unwrap();
        assert!(!of("old").exists() && of("new").exists() && dir.path().join("distfiles").exists());
        assert!(of("again").exists());
    }
}
