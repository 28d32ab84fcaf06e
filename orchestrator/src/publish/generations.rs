//! Earlier indexes of a channel: `generations/<number>/Packages(.gz)`.
//!
//! They exist because a workstation that read the index a minute ago still fetches the
//! files it named. A generation is immutable, and goes when a grace time has passed since
//! the next one replaced it.

use crate::artifact::disk::{self, DiskError};
use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

/// Whether a channel keeps its earlier indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generations {
    /// Every publication is kept until it is swept; for channels that workstations use.
    Keep,
    /// Only the current index; for channels of one run, which are published after every
    /// package and only grow.
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

/// Where a generation is.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join("generations").join(number.to_string())
}

/// Makes a generation with both files durable. One that is left from a crash before its
/// index was switched to is replaced.
pub(super) fn write(
    dir: &Path,
    number: u64,
    index: &[u8],
    gz: &[u8],
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
    write_dated(&temp.join("Packages"), index, timestamp)?;
    write_dated(&temp.join("Packages.gz"), gz, timestamp)?;
    disk::sync_dir(&temp)?;
    fs::rename(&temp, &home).map_err(DiskError::at("rename to", &home))?;
    disk::sync_dir(&dir.join("generations"))
}

/// Removes a generation.
pub(super) fn remove(dir: &Path, number: u64) -> Result<(), DiskError> {
    let home = path(dir, number);
    fs::remove_dir_all(&home).map_err(DiskError::at("remove", &home))
}

/// Puts files with this modification time into `dir` by renaming, in this order.
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

fn write_dated(path: &Path, bytes: &[u8], timestamp: u64) -> Result<(), DiskError> {
    let mut file = fs::File::create(path).map_err(DiskError::at("make", path))?;
    file.write_all(bytes).map_err(DiskError::at("write", path))?;
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(timestamp)).unwrap_or(UNIX_EPOCH);
    file.set_modified(time).map_err(DiskError::at("set the time of", path))?;
    file.sync_all().map_err(DiskError::at("sync", path))
}
