//! Reads an untrusted image.
//!
//! Everything is validated: order, types, paths, sizes and counts while reading, and at the end the digest
//! over every byte. Because each directory precedes its content and nothing is below a symbolic link, all
//! writes stay within the given directory.

use super::{
    ImageError, ImageSummary, MAX_BYTES, MAX_ENTRIES, MAX_PATH_BYTES, check_path,
    directory::special,
    keeps,
    outline::{Outline, machine},
    pack::check_target,
    parent,
};
use crate::archive::{
    WINDOW_LOG_MAX,
    digesting::DigestReader,
    tar_reader::{EntryKind, TarAttributes, TarEntry, TarReader},
};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, lsetxattr, utimensat};
use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::{self, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, lchown, symlink},
    },
    path::Path,
};
use swarm_common::digest::Digest;

/// Unpacks the compressed image `archive` into `dir`, an empty directory for exclusive use, and
/// returns a summary. After an error the directory may contain part of the image.
///
/// # Errors
/// `archive` is not a valid image, has another digest than `expected`, or cannot be written. Setting owners
/// requires root.
pub fn unpack(archive: impl Read, expected: Digest, dir: &Path) -> Result<ImageSummary, ImageError> {
    let root = |what: &'static str| ImageError::io(format!("{}: {what}", dir.display()));
    fs::set_permissions(dir, Permissions::from_mode(0o755)).map_err(root("its mode cannot be set"))?;
    read(archive, expected, Some(dir))
}

/// Verifies the compressed image `archive` without writing anything, and returns a summary.
///
/// # Errors
/// `archive` is not a valid image, or has another digest than `expected`.
pub fn verify(archive: impl Read, expected: Digest) -> Result<ImageSummary, ImageError> {
    read(archive, expected, None)
}

fn read(archive: impl Read, expected: Digest, dir: Option<&Path>) -> Result<ImageSummary, ImageError> {
    let reading = || ImageError::io("reading the image");
    let mut zstd = zstd::Decoder::new(archive).map_err(reading())?;
    zstd.window_log_max(WINDOW_LOG_MAX).map_err(reading())?;
    let mut tar = TarReader::new(DigestReader::new(zstd, MAX_BYTES));
    let mut content = Content { dir, ..Content::default() };
    while let Some(entry) = tar.next_entry()? {
        content.entries += 1;
        if content.entries > MAX_ENTRIES {
            return Err(ImageError::TooLarge { what: "entries", limit: MAX_ENTRIES });
        }
        content.path_bytes += (entry.path.len() + entry.link.len()) as u64;
        if content.path_bytes > MAX_PATH_BYTES {
            return Err(ImageError::TooLarge { what: "bytes of paths", limit: MAX_PATH_BYTES });
        }
        content.take(&mut tar, entry)?;
    }
    let (bytes, got) = tar.into_inner().finish();
    if got != expected {
        return Err(ImageError::WrongDigest { expected, got });
    }
    content.finish(bytes)
}

#[derive(Default)]
struct Content<'a> {
    dir: Option<&'a Path>,
    entries: u64,
    path_bytes: u64,
    last: Vec<u8>,
    outline: Outline,
    /// The architecture of each program, by path.
    machines: HashMap<Vec<u8>, &'static str>,
    /// The times of directories, which are set at the end, because adding entries changes them.
    times: Vec<(Vec<u8>, u64)>,
}

impl Content<'_> {
    fn take(&mut self, tar: &mut TarReader<impl Read>, entry: TarEntry) -> Result<(), ImageError> {
        let TarEntry { path, kind, size, link } = entry;
        let attributes = tar.attributes()?;
        check_path(&path)?;
        let above = parent(&path);
        if path <= self.last {
            return Err(ImageError::entry(&path, "occurs twice or not in order"));
        }
        if !above.is_empty() && !self.outline.dirs.contains(above) {
            return Err(ImageError::entry(&path, "lies below what is no directory"));
        }
        if let Some((name, _)) = attributes.xattrs.iter().find(|(name, _)| !keeps(name)) {
            let name = String::from_utf8_lossy(name).escape_debug().to_string();
            return Err(ImageError::entry(&path, format!("has the extended attribute `{name}`")));
        }
        match kind {
            EntryKind::Directory => {
                self.at(&path, |at| fs::create_dir(at).and_then(|()| dress(at, &attributes, kind)))?;
                self.outline.dirs.insert(path.clone());
                if self.dir.is_some() {
                    self.times.push((path.clone(), attributes.mtime));
                }
            }
            EntryKind::File => {
                let head = self.take_file(tar, &path, size, &attributes)?;
                if let Some(machine) = machine(&head) {
                    self.machines.insert(path.clone(), machine);
                }
                self.outline.files.insert(path.clone());
            }
            EntryKind::Symlink => {
                check_target(&path, &link)?;
                self.at(&path, |at| {
                    symlink(OsStr::from_bytes(&link), at).and_then(|()| dress(at, &attributes, kind))
                })?;
                self.outline.links.insert(path.clone(), link);
            }
            EntryKind::Hardlink => {
                if !self.outline.files.contains(&link) {
                    return Err(ImageError::entry(
                        &path,
                        "is a hard link to something that is not an earlier file",
                    ));
                }
                if let Some(dir) = self.dir {
                    self.at(&path, |at| fs::hard_link(dir.join(OsStr::from_bytes(&link)), at))?;
                }
                if let Some(&machine) = self.machines.get(&link) {
                    self.machines.insert(path.clone(), machine);
                }
                self.outline.files.insert(path.clone());
            }
            EntryKind::Special(_) => return Err(special(&path, "device, pipe or something else")),
        }
        self.last = path;
        Ok(())
    }

    /// Reads a file's content and returns its first bytes.
    fn take_file(
        &self,
        tar: &mut TarReader<impl Read>,
        path: &[u8],
        size: u64,
        attributes: &TarAttributes,
    ) -> Result<Vec<u8>, ImageError> {
        let mut head = Vec::new();
        tar.take(20).read_to_end(&mut head).map_err(ImageError::io("reading the image"))?;
        self.at(path, |at| {
            let mut file = OpenOptions::new().write(true).create_new(true).open(at)?;
            file.write_all(&head)?;
            if head.len() as u64 + io::copy(tar, &mut file)? != size {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is cut off"));
            }
            dress(at, attributes, EntryKind::File)
        })?;
        Ok(head)
    }

    /// Calls `make` with the path on disk, if the image is being written.
    fn at(&self, path: &[u8], make: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), ImageError> {
        let Some(dir) = self.dir else { return Ok(()) };
        let at = dir.join(OsStr::from_bytes(path));
        make(&at).map_err(ImageError::io(at.display().to_string()))
    }

    fn finish(self, bytes: u64) -> Result<ImageSummary, ImageError> {
        for (path, mtime) in self.times.iter().rev() {
            self.at(path, |at| set_time(at, *mtime))?;
        }
        let shell = self.outline.shell()?;
        let machine = self.machines.get(&shell).ok_or_else(|| {
            let shell = String::from_utf8_lossy(&shell).escape_debug().to_string();
            ImageError::NoRoot(format!("its shell /{shell} is not a program of a known architecture"))
        })?;
        let has_portage = self.outline.has_file(b"usr/bin/emerge");
        let (entries, machine, usr) = (self.entries, (*machine).to_owned(), self.outline.usr());
        Ok(ImageSummary { entries, bytes, machine, has_portage, usr })
    }
}

/// Sets owner, mode, extended attributes and time of an entry.
fn dress(at: &Path, attributes: &TarAttributes, kind: EntryKind) -> io::Result<()> {
    lchown(at, Some(attributes.uid), Some(attributes.gid))?;
    if kind != EntryKind::Symlink {
        // Set the mode after the owner, because changing the owner clears the set-user-id bit.
        fs::set_permissions(at, Permissions::from_mode(attributes.mode))?;
    }
    for (name, value) in &attributes.xattrs {
        lsetxattr(at, name.as_slice(), value, XattrFlags::empty())?;
    }
    set_time(at, attributes.mtime)
}

fn set_time(at: &Path, mtime: u64) -> io::Result<()> {
    let time = Timespec { tv_sec: i64::try_from(mtime).unwrap_or(0), tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(CWD, at, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
