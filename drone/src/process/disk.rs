//! Measures the disk usage of a job. The kernel can limit disk usage only with file system quotas, so it is
//! measured repeatedly, and less often the longer a measurement takes.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Minimum free space in bytes, or 5 % of the file system if that is less. With less free space no build may
/// continue, because others need the space too.
const RESERVE: u64 = 256 << 20;

/// Minimum interval between measurements. Also limited to a multiple of the duration of a measurement.
const EVERY: Duration = Duration::from_secs(2);
const REST: u32 = 50;

/// The disk limit of a job.
#[derive(Debug, Clone)]
pub struct DiskLimit {
    /// The directory that the job writes to; only its file system is counted.
    pub dir: PathBuf,
    /// Maximum number of bytes; `None` for no limit.
    pub bytes: Option<u64>,
}

/// How a disk limit was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// The job used this many bytes, more than it may.
    Taken(u64),
    /// The file system is almost full; this many bytes are free.
    Left(u64),
}

/// Waits until the job exceeds its limit.
pub(super) async fn excess(limit: &DiskLimit) -> Excess {
    let mut pause = EVERY;
    loop {
        tokio::time::sleep(pause).await;
        let (limit, began) = (limit.clone(), Instant::now());
        match tokio::task::spawn_blocking(move || look(&limit)).await {
            Ok(Ok(Some(excess))) => return excess,
            Ok(Ok(None)) => {}
            // The job continues without measurements. If the disk is full, the job itself gets write errors.
            Ok(Err(error)) => tracing::warn!(%error, "cannot determine the disk use of a build"),
            Err(error) => tracing::error!(%error, "the task measuring disk use panicked"),
        }
        pause = EVERY.max(began.elapsed() * REST);
    }
}

/// The number of free bytes on the file system of `dir`, if they are too few to build there; otherwise
/// `None`.
///
/// # Errors
/// The file system cannot be queried.
pub fn too_little_free(dir: &Path) -> io::Result<Option<u64>> {
    let disk = rustix::fs::statvfs(dir)?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    let free = bytes(disk.f_bavail);
    Ok((free < RESERVE.min(bytes(disk.f_blocks) / 20)).then_some(free))
}

fn look(limit: &DiskLimit) -> io::Result<Option<Excess>> {
    if let Some(free) = too_little_free(&limit.dir)? {
        return Ok(Some(Excess::Left(free)));
    }
    let Some(most) = limit.bytes else { return Ok(None) };
    let taken = disk_usage(&limit.dir)?;
    Ok((taken > most).then_some(Excess::Taken(taken)))
}

/// Disk usage in bytes of a directory on its own file system.
///
/// # Errors
/// The directory does not exist.
pub fn disk_usage(dir: &Path) -> io::Result<u64> {
    Ok(size(dir, fs::symlink_metadata(dir)?.dev()))
}

/// Disk usage in bytes below a directory, without other file systems. Skips files that vanish meanwhile.
fn size(dir: &Path, dev: u64) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let mut sum = 0;
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.dev() != dev {
            continue;
        }
        // stat(2) counts in units of 512 bytes.
        let bytes = metadata.blocks() * 512;
        if metadata.is_dir() {
            sum += bytes + size(&entry.path(), dev);
        } else {
            // Each hard link counts for its share of the file.
            sum += bytes / metadata.nlink().max(1);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_a_directory_counts_once_and_other_file_systems_do_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/file"), vec![1; 3 << 20]).unwrap();
        fs::hard_link(dir.path().join("a/b/file"), dir.path().join("a/again")).unwrap();
        let dev = fs::metadata(dir.path()).unwrap().dev();
        let taken = size(dir.path(), dev);
        assert!(((3 << 20)..(4 << 20)).contains(&taken), "{taken}");
        assert_eq!(size(Path::new("/"), u64::MAX), 0);
        let with = |bytes| look(&DiskLimit { dir: dir.path().into(), bytes }).unwrap();
        assert_eq!(with(Some(4 << 20)), None);
        assert_eq!(with(Some(2 << 20)), Some(Excess::Taken(taken)));
        assert_eq!(with(None), None);
    }
}
