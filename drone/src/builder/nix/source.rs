//! A copy of a snapshot's source and inputs with the same file times on every drone, and how Nix refers to
//! it.
//!
//! Nix uses the time of a flake's newest file as the flake's date (`self.lastModified`). The copy has the
//! time of the commit, as in a checkout, so that `nixos-rebuild` there gives the same store paths.

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};
use swarm_formats::snapshot::{INPUTS, NixSource, SOURCE};

/// Copies `source` and `inputs` of a snapshot to `to`. `modified` is the time of the source in seconds since
/// 1970; the times of the inputs are in the lock file.
pub(super) fn copy(snapshot: &Path, to: &Path, modified: u64) -> io::Result<()> {
    for (part, modified) in [(SOURCE, modified), (INPUTS, 0)] {
        let (from, to) = (snapshot.join(part), to.join(part));
        if from.exists() {
            copy_tree(&from, &to, i64::try_from(modified).unwrap_or_default())?;
        } else {
            fs::create_dir_all(to)?;
        }
    }
    Ok(())
}

/// The inputs in a copy: their names and directories.
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

/// The URL of the flake in `dir`. If the commit is known, the URL contains it, and Nix passes it to the
/// flake.
pub(super) fn address(dir: &str, source: &NixSource) -> String {
    match source.rev() {
        Some(rev) => format!("path:{dir}?rev={rev}"),
        None => format!("path:{dir}"),
    }
}

fn copy_tree(from: &Path, to: &Path, modified: i64) -> io::Result<()> {
    let kind = fs::symlink_metadata(from)?.file_type();
    if kind.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy_tree(&entry.path(), &to.join(entry.file_name()), modified)?;
        }
    } else if kind.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
    } else {
        fs::copy(from, to)?;
    }
    let time = Timespec { tv_sec: modified, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt};

    #[test]
    fn a_copy_has_content_modes_and_links_and_the_times_of_the_commit() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("source/bin")).unwrap();
        fs::write(from.join("source/bin/run"), "x").unwrap();
        fs::set_permissions(from.join("source/bin/run"), PermissionsExt::from_mode(0o755)).unwrap();
        symlink("bin/run", from.join("source/link")).unwrap();
        fs::write(from.join("snapshot.json"), "{}").unwrap();
        fs::create_dir_all(from.join("inputs/x")).unwrap();
        copy(&from, &to, 1_700_000_000).unwrap();
        for path in ["source", "source/bin", "source/bin/run", "source/link"] {
            assert_eq!(fs::symlink_metadata(to.join(path)).unwrap().mtime(), 1_700_000_000, "{path}");
        }
        assert_eq!(fs::metadata(to.join("inputs/x")).unwrap().mtime(), 0);
        assert_eq!(fs::read_link(to.join("source/link")).unwrap(), Path::new("bin/run"));
        assert_eq!(fs::metadata(to.join("source/bin/run")).unwrap().mode() & 0o777, 0o755);
        assert!(!to.join("snapshot.json").exists());
        assert_eq!(inputs(&to).unwrap(), [("x".to_owned(), to.join("inputs/x"))]);
    }
}
