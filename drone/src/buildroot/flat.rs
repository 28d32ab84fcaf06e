//! Flattens an overlay, which consists of a read-only lower and an upper directory, into one root file
//! system. Unchanged files are hard-linked to the lower directory and take no extra space.

use super::layer::{is_hole, own, remove, set_time};
use crate::namespace;
use std::{
    fs::{self, Metadata, Permissions},
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

/// Files left by the drone or by programs in the overlay that are not part of a base.
const PASSING: [&str; 9] = [
    "etc/resolv.conf",
    "run",
    "tmp",
    "var/cache/binpkgs",
    "var/cache/distfiles",
    "var/cache/edb",
    "var/cache/swarm",
    "var/db/repos",
    "var/log/emerge.log",
];

/// Merges `upper` over `lower` into the existing empty directory `to`. All three must be on the same
/// file system. `upper` is consumed.
///
/// # Errors
/// A file cannot be read, linked, moved or changed.
pub fn flatten(lower: &Path, upper: &Path, to: &Path) -> io::Result<()> {
    for passing in PASSING {
        remove(&upper.join(passing))?;
    }
    link_all(lower, to)?;
    // The name of the attribute depends on how the overlay was mounted.
    let opaque = if namespace::is_entered() { "user.overlay.opaque" } else { "trusted.overlay.opaque" };
    put_over(upper, to, opaque)?;
    alike(to, &fs::symlink_metadata(lower)?)
}

fn link_all(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, at) = (entry.path(), to.join(entry.file_name()));
        let found = fs::symlink_metadata(&path)?;
        if found.is_dir() {
            fs::create_dir(&at)?;
            link_all(&path, &at)?;
            alike(&at, &found)?;
        } else {
            fs::hard_link(&path, &at)?;
        }
    }
    Ok(())
}

fn put_over(from: &Path, to: &Path, opaque: &str) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, at) = (entry.path(), to.join(entry.file_name()));
        let found = fs::symlink_metadata(&path)?;
        if is_hole(&found) {
            remove(&at)?;
        } else if found.is_dir() {
            let is_dir = fs::symlink_metadata(&at).is_ok_and(|there| there.is_dir());
            if !is_dir || is_set(&path, opaque)? {
                remove(&at)?;
                fs::create_dir(&at)?;
            }
            put_over(&path, &at, opaque)?;
            alike(&at, &found)?;
        } else {
            remove(&at)?;
            fs::rename(&path, &at)?;
        }
    }
    Ok(())
}

/// Whether an extended attribute is `y`. For the opaque attribute, this means that the directory hides the
/// one below it.
fn is_set(dir: &Path, name: &str) -> io::Result<bool> {
    let mut value = [0; 1];
    match rustix::fs::lgetxattr(dir, name, &mut value[..]) {
        Ok(length) => Ok(value[..length] == *b"y"),
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::NOTSUP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Copies owner, mode and modification time to a directory. Call this after its content is complete.
pub(super) fn alike(dir: &Path, other: &Metadata) -> io::Result<()> {
    own(dir, (other.uid(), other.gid()))?;
    fs::set_permissions(dir, Permissions::from_mode(other.mode() & 0o7777))?;
    set_time(dir, other.mtime().unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, mknodat};
    use std::os::unix::fs::symlink;

    #[test]
    fn what_was_not_changed_is_linked_and_the_lower_one_stays_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let [lower, upper, to] = ["lower", "upper", "to"].map(|name| dir.path().join(name));
        for made in ["lower/usr/bin", "lower/usr/old", "upper/usr/bin", "upper/usr/new", "upper/tmp/x", "to"]
        {
            fs::create_dir_all(dir.path().join(made)).unwrap();
        }
        fs::write(lower.join("usr/bin/kept"), "kept").unwrap();
        fs::write(lower.join("usr/bin/changed"), "before").unwrap();
        symlink("bin", lower.join("usr/sbin")).unwrap();
        fs::write(upper.join("usr/bin/changed"), "after").unwrap();
        fs::write(upper.join("usr/new/file"), "new").unwrap();
        // A file replaces a directory.
        fs::write(upper.join("usr/old"), "file").unwrap();
        fs::set_permissions(upper.join("usr/bin"), Permissions::from_mode(0o700)).unwrap();
        // As an overlay mounted by root creates them: a whiteout, and an opaque directory.
        let root = rustix::process::geteuid().is_root() && !namespace::is_entered();
        if root {
            for made in ["lower/usr/anew", "upper/usr/anew"] {
                fs::create_dir(dir.path().join(made)).unwrap();
            }
            fs::write(lower.join("usr/anew/before"), "").unwrap();
            fs::write(lower.join("usr/removed"), "").unwrap();
            lsetxattr(upper.join("usr/anew"), "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
            mknodat(CWD, upper.join("usr/removed"), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
        }
        flatten(&lower, &upper, &to).unwrap();
        if root {
            assert_eq!(fs::read_dir(to.join("usr/anew")).unwrap().count(), 0);
            assert!(!to.join("usr/removed").exists() && lower.join("usr/removed").exists());
        }

        let read = |path: &str| fs::read_to_string(to.join(path)).unwrap();
        assert_eq!((read("usr/sbin/changed"), read("usr/new/file")), ("after".into(), "new".into()));
        assert_eq!(read("usr/old"), "file");
        assert_eq!(fs::metadata(to.join("usr/bin")).unwrap().mode() & 0o7777, 0o700);
        assert!(!to.join("tmp").exists(), "what passes is no part of it");
        let inode = |top: &Path| fs::metadata(top.join("usr/bin/kept")).unwrap().ino();
        assert_eq!(inode(&to), inode(&lower));
        assert_eq!(fs::read_to_string(lower.join("usr/bin/changed")).unwrap(), "before");
        assert!(lower.join("usr/old").is_dir());
    }
}
