//! Opens published files without following links that lead out of the published tree.

use rustix::{
    fs::{Mode, OFlags, ResolveFlags, openat2},
    io::Errno,
};
use std::{
    fs::{self, File},
    io,
    path::Path,
};

/// Opens `path`, which must be below `root`. The root itself may be a link.
///
/// # Errors
/// The file does not exist, a link on the path leads out of `root`
/// ([`io::ErrorKind::CrossesDevices`]), or the disk fails.
pub(super) fn open(root: &Path, path: &Path) -> io::Result<File> {
    let below = path.strip_prefix(root).map_err(|_| Errno::XDEV)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let dir = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    match openat2(&dir, below, flags, Mode::empty(), resolve) {
        Ok(file) => Ok(file.into()),
        // The kernel is older than 5.6, or a container blocks the system call.
        Err(Errno::NOSYS | Errno::PERM) => open_resolved(root, path),
        Err(error) => Err(error.into()),
    }
}

/// Like [`open`], without the kernel's support.
fn open_resolved(root: &Path, path: &Path) -> io::Result<File> {
    let resolved = fs::canonicalize(path)?;
    if !resolved.starts_with(fs::canonicalize(root)?) {
        return Err(Errno::XDEV.into());
    }
    File::open(resolved)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]
mod tests {
    use super::*;
    use std::{io::Read as _, os::unix::fs::symlink};

    #[test]
    fn links_within_are_followed_and_those_out_of_it_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let (real, root) = (dir.path().join("real"), dir.path().join("root"));
        fs::create_dir_all(real.join("a")).unwrap();
        symlink(&real, &root).unwrap();
        fs::write(dir.path().join("secret"), "out").unwrap();
        fs::write(real.join("a/file"), "in").unwrap();
        for (name, target) in [("within", "a/file"), ("around", "a/../a/file"), ("out", "../secret")] {
            symlink(target, real.join(name)).unwrap();
        }
        symlink(dir.path().join("secret"), real.join("absolute")).unwrap();
        symlink(dir.path(), real.join("folder")).unwrap();
        for open in [open, open_resolved] {
            let read = |name: &str| {
                let mut text = String::new();
                open(&root, &root.join(name)).and_then(|mut file| file.read_to_string(&mut text))?;
                Ok::<_, io::Error>(text)
            };
            for name in ["a/file", "within", "around"] {
                assert_eq!(read(name).unwrap(), "in", "{name}");
            }
            for name in ["out", "absolute", "folder/secret"] {
                assert_eq!(read(name).unwrap_err().kind(), io::ErrorKind::CrossesDevices, "{name}");
            }
            assert_eq!(read("none").unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }
}
