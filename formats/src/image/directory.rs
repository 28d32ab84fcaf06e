//! Reads a local directory tree as the content of an image.

use super::{ContentSource, ImageContents, ImageError};
use crate::archive::tar_reader::TarAttributes;
use rustix::{
    fs::{lgetxattr, llistxattr},
    io::Errno,
};
use std::{
    collections::HashMap,
    fs::{self, Metadata},
    io,
    os::unix::{ffi::OsStrExt, fs::FileTypeExt, fs::MetadataExt},
    path::Path,
};

/// The kernel's limit for the list of attribute names and for each value, in bytes.
const MAX_XATTR: usize = 64 * 1024;

impl ImageContents {
    /// Adds everything below `root` except other mounted file systems. Returns notes for the user.
    ///
    /// # Errors
    /// Something cannot be read or is not allowed in an image.
    pub fn add_root(&mut self, root: &Path) -> Result<Vec<String>, ImageError> {
        let reading = |path: &Path| ImageError::io(path.display().to_string());
        let meta = fs::metadata(root).map_err(reading(root))?;
        let mut found = Found { device: meta.dev(), ..Found::default() };
        let mut open = vec![root.to_owned()];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(&dir).map_err(reading(&dir))? {
                let path = entry.map_err(reading(&dir))?.path();
                if self.add_from(root, &path, &mut found)? {
                    open.push(path);
                }
            }
        }
        found.notes.extend(devices_note(&mut found.devices));
        Ok(found.notes)
    }

    /// Adds the entry at `path`. Returns whether it is a directory to descend into.
    fn add_from(&mut self, root: &Path, path: &Path, found: &mut Found) -> Result<bool, ImageError> {
        let reading = || ImageError::io(path.display().to_string());
        let relative = path.strip_prefix(root).unwrap_or(path).as_os_str().as_bytes();
        let meta = fs::symlink_metadata(path).map_err(reading())?;
        let kind = meta.file_type();
        if kind.is_block_device() || kind.is_char_device() || kind.is_fifo() || kind.is_socket() {
            if is_in_dev(relative) {
                found.devices.push(String::from_utf8_lossy(relative).into_owned());
                return Ok(false);
            }
            if kind.is_socket() {
                found.notes.push(format!("{} is left out: it is a socket", path.display()));
                return Ok(false);
            }
            return Err(special(relative, word(&meta)));
        }
        let attributes = attributes(path, &meta).map_err(reading())?;
        if kind.is_dir() {
            self.add_dir(relative, attributes)?;
            let mounted = meta.dev() != found.device;
            if mounted {
                found.notes.push(format!(
                    "what is in {} is left out: another file system is mounted there",
                    path.display()
                ));
            }
            return Ok(!mounted);
        }
        if kind.is_symlink() {
            let target = fs::read_link(path).map_err(reading())?;
            self.add_symlink(relative, target.as_os_str().as_bytes(), attributes)?;
            return Ok(false);
        }
        if meta.nlink() > 1
            && let Some(first) = found.names.get(&meta.ino())
        {
            self.add_hardlink(relative, first)?;
            return Ok(false);
        }
        found.names.insert(meta.ino(), relative.to_vec());
        self.add_file(relative, ContentSource::File(path.to_owned()), meta.len(), attributes)?;
        Ok(false)
    }
}

#[derive(Default)]
struct Found {
    device: u64,
    /// The first path of each file with several hard links.
    names: HashMap<u64, Vec<u8>>,
    notes: Vec<String>,
    /// Names of devices and other special files below /dev.
    devices: Vec<String>,
}

/// A note that names what was left out of /dev. `None` if nothing was.
#[must_use]
pub fn devices_note(devices: &mut [String]) -> Option<String> {
    devices.sort();
    let first = devices.first()?;
    let more = match devices.len() {
        1 => String::new(),
        n => format!(" and {} more", n - 1),
    };
    Some(format!("{first}{more}: devices are left out, as each build gets a /dev of its own"))
}

/// Whether a path is below `/dev`, which a running system populates itself.
#[must_use]
pub fn is_in_dev(path: &[u8]) -> bool {
    path.starts_with(b"dev/")
}

/// The error for a device or pipe outside of /dev.
#[must_use]
pub fn special(path: &[u8], kind: &str) -> ImageError {
    ImageError::entry(path, format!("is a {kind}, which an image may only contain in /dev"))
}

fn word(meta: &Metadata) -> &'static str {
    let kind = meta.file_type();
    match (kind.is_socket(), kind.is_fifo()) {
        (true, _) => "socket",
        (_, true) => "named pipe",
        _ => "device",
    }
}

fn attributes(path: &Path, meta: &Metadata) -> io::Result<TarAttributes> {
    Ok(TarAttributes {
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        mtime: u64::try_from(meta.mtime()).unwrap_or(0),
        xattrs: xattrs(path)?,
    })
}

/// The extended attributes of a file. Empty if the file system does not support them.
fn xattrs(path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = vec![0_u8; MAX_XATTR];
    let length = match llistxattr(path, &mut names[..]) {
        Err(Errno::NOTSUP) | Ok(0) => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for name in names[..length].split(|&b| b == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0_u8; MAX_XATTR];
        match lgetxattr(path, name, &mut value[..]) {
            Ok(length) => value.truncate(length),
            // The attribute has disappeared or may not be read.
            Err(Errno::NODATA | Errno::PERM) => continue,
            Err(error) => return Err(error.into()),
        }
        found.push((name.to_vec(), value));
    }
    Ok(found)
}
