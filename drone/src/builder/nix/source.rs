//! A copy of a snapshot's source and inputs whose files have no times.
//!
//! A flake without a commit takes the time of its newest file as its date, so copies on two drones
//! would evaluate differently.

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};
use swarm_formats::snapshot::{INPUTS, SOURCE};

/// Copies `source` and `inputs` of a snapshot to `to`.
pub(super) fn copy(snapshot: &Path, to: &Path) -> io::Result<()> {
    for part in [SOURCE, INPUTS] {
        let (from, to) = (snapshot.join(part), to.join(part));
        if from.exists() {
            copy_tree(&from, &to)?;
        } else {
            fs::create_dir_all(to)?;
        }
    }
    Ok(())
}

/// The inputs in a copy: names and directories.
pub(super) fn inputs(copy: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = fs::read_dir(copy.join(INPUTS))?;
    let input = |entry: io::Result<fs::DirEntry>| {
        let entry = entry?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
    };
    let mut inputs = entries.map(input).collect::<io::Result<Vec<_>>>()?;
    inputs.sort_unstable();
    Ok(inputs)
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(from)?.file_type();
    if kind.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy_tree(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else if kind.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
    } else {
        fs::copy(from, to)?;
    }
    let start = Timespec { tv_sec: 0, tv_nsec: 0 };
    let times = Timestamps { last_access: start, last_modification: start };
    Ok(utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt};

    #[test]
    fn a_copy_has_content_modes_and_links_but_no_times() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("source/bin")).unwrap();
        fs::write(from.join("source/bin/run"), "x").unwrap();
        fs::set_permissions(from.join("source/bin/run"), PermissionsExt::from_mode(0o755)).unwrap();
        symlink("bin/run", from.join("source/link")).unwrap();
        fs::write(from.join("snapshot.json"), "{}").unwrap();
        copy(&from, &to).unwrap();
        for path in ["source", "source/bin", "source/bin/run", "source/link"] {
            assert_eq!(fs::symlink_metadata(to.join(path)).unwrap().mtime(), 0, "{path}");
        }
        assert_eq!(fs::read_link(to.join("source/link")).unwrap(), Path::new("bin/run"));
        assert_eq!(fs::metadata(to.join("source/bin/run")).unwrap().mode() & 0o777, 0o755);
        assert!(!to.join("snapshot.json").exists());
        assert_eq!(inputs(&to).unwrap(), []);
    }
}
