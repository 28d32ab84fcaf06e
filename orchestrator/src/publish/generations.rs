//! Earlier contents of a channel: `generations/<number>/`, with the index files `Packages(.gz)`, or
//! for Nix the list `paths`.
//!
//! A workstation that has just read an older index still fetches the files that it names. A generation is
//! immutable. It stays for a grace time after it was replaced; a generation of a Nix cache stays at least as
//! long as the core keeps it.

use crate::store::disk::{self, DiskError};
use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Whether a channel keeps its earlier indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generations {
    /// Keep every publication until it is swept. For channels that workstations use.
    Keep,
    /// Keep only the current index. For the channel of a run, which is published after every package and only
    /// grows.
    CurrentOnly,
}

/// The numbers of the generations in a channel's directory, ascending.
pub(super) fn numbers(dir: &Path) -> Result<Vec<u64>, DiskError> {
    let dir = dir.join("generations");
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(DiskError::at("list", &dir))?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let entry = entry.map_err(DiskError::at("list", &dir))?;
        numbers.extend(entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The number of the last generation in a channel's directory; 0 if there is none.
pub(crate) fn last(dir: &Path) -> Result<u64, DiskError> {
    Ok(numbers(dir)?.last().copied().unwrap_or(0))
}

/// The directory of a generation.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join("generations").join(number.to_string())
}

/// Durably writes a generation with these files. Replaces one that a crash left before it became current.
pub(super) fn write(
    dir: &Path,
    number: u64,
    files: &[(&str, &[u8])],
    timestamp: u64,
) -> Result<(), DiskError> {
    let home = path(dir, number);
    let temp = dir.join("generations").join(format!(".{number}"));
    for stale in [&temp, &home] {
        match fs::remove_dir_all(stale) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DiskError::new("remove", stale, error));
            }
            _ => {}
        }
    }
    disk::make_dirs(&temp)?;
    for (name, bytes) in files {
        write_dated(&temp.join(name), bytes, timestamp)?;
    }
    disk::sync_dir(&temp)?;
    fs::rename(&temp, &home).map_err(DiskError::at("rename to", &home))?;
    disk::sync_dir(&dir.join("generations"))
}

pub(super) fn remove(dir: &Path, number: u64) -> Result<(), DiskError> {
    let home = path(dir, number);
    fs::remove_dir_all(&home).map_err(DiskError::at("remove", &home))
}

/// Moves files with this modification time into `dir` by renaming, in this order.
pub(super) fn replace(dir: &Path, files: &[(&str, &[u8])], timestamp: u64) -> Result<(), DiskError> {
    let temp = |name: &str| dir.join(format!("{name}.new"));
    for (name, bytes) in files {
        write_dated(&temp(name), bytes, timestamp)?;
    }
    for (name, _) in files {
        let to = dir.join(name);
        fs::rename(temp(name), &to).map_err(DiskError::at("rename to", &to))?;
    }
    disk::sync_dir(dir)
}

/// The modification time of a file in seconds since the Unix epoch; `None` if there is no file.
pub(super) fn seconds_of(path: &Path) -> Option<u64> {
    let modified = fs::metadata(path).and_then(|meta| meta.modified()).ok()?;
    modified.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

pub(super) fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}

fn write_dated(path: &Path, bytes: &[u8], timestamp: u64) -> Result<(), DiskError> {
    let mut file = fs::File::create(path).map_err(DiskError::at("make", path))?;
    file.write_all(bytes).map_err(DiskError::at("write", path))?;
    file.set_modified(time(timestamp)).map_err(DiskError::at("set the time of", path))?;
    file.sync_all().map_err(DiskError::at("sync", path))
}
