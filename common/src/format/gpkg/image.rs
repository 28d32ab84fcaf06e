//! The image archive: what will be merged into a workstation's root.
//!
//! Nothing is unpacked. Every entry must lie below `image/` without tricks, be a file,
//! directory or link, and not be reached through a symbolic link of the same archive.
//! Symbolic links themselves may point anywhere, as packages legitimately do.

use super::{Limits, error::GpkgError, error::printable};
use crate::format::tar_reader::{EntryKind, TarEntry, TarReader};
use std::{collections::HashSet, io::Read};

/// What an image holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageSummary {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of all regular files.
    pub bytes: u64,
    /// Where files and links would lie, such as `/usr/bin/tool`, each followed by a NUL. Of a
    /// package with several hundred thousand of them only the first.
    pub paths: Vec<u8>,
}

const PLACE: &str = "the image archive";
/// Longest path, in bytes; Linux takes none that is longer.
const MAX_PATH: usize = 4096;
/// Memory for the paths of symbolic links, in bytes.
const MAX_LINK_MEMORY: u64 = 64 << 20;
/// Memory for the paths that are told, in bytes: the largest source trees take half of it.
const MAX_PATHS_MEMORY: usize = 16 << 20;

/// Checks the archive from its decompressed bytes, to their end.
pub(super) fn check(inflated: impl Read, limits: &Limits) -> Result<ImageSummary, GpkgError> {
    let mut tar = TarReader::new(inflated);
    let mut summary = ImageSummary::default();
    let mut links = Links::default();
    while let Some(entry) = tar.next_entry().map_err(|error| GpkgError::archive(PLACE, error))? {
        summary.entries += 1;
        summary.bytes = summary.bytes.saturating_add(entry.size);
        let too_large = |what, limit| GpkgError::TooLarge { place: PLACE.to_owned(), what, limit };
        if summary.entries > limits.image_entries {
            return Err(too_large("the number of entries", limits.image_entries));
        }
        // Told sizes are refused before their bytes are decompressed.
        if summary.bytes > limits.image_bytes {
            return Err(too_large("the size of all files in bytes", limits.image_bytes));
        }
        check_entry(&entry, &mut links)?;
        if entry.kind != EntryKind::Directory
            && let Some(path) = entry.path.strip_prefix(b"image")
            && summary.paths.len() + path.len() < MAX_PATHS_MEMORY
        {
            summary.paths.extend(path);
            summary.paths.push(0);
        }
    }
    Ok(summary)
}

fn check_entry(entry: &TarEntry, links: &mut Links) -> Result<(), GpkgError> {
    let refuse = |reason| GpkgError::Image { entry: printable(&entry.path), reason };
    let path = inside(&entry.path).ok_or_else(|| refuse("is not a plain path below image/"))?;
    if path == b"image" && entry.kind != EntryKind::Directory {
        return Err(refuse("should be a directory"));
    }
    if links.lead_to(path) {
        return Err(refuse("lies behind a symbolic link of the same archive"));
    }
    match entry.kind {
        EntryKind::File | EntryKind::Directory => Ok(()),
        EntryKind::Symlink if entry.link.is_empty() || entry.link.len() > MAX_PATH => {
            Err(refuse("is a symbolic link to nothing"))
        }
        EntryKind::Symlink => links.remember(path),
        EntryKind::Hardlink => match inside(&entry.link) {
            Some(target) if !links.lead_to(target) => Ok(()),
            _ => Err(refuse("is a hard link to outside the image")),
        },
        EntryKind::Special(_) => {
            Err(refuse("is a device, a fifo or something else that packages may not hold"))
        }
    }
}

/// The path without a trailing slash, if it is `image` or plainly below it.
fn inside(path: &[u8]) -> Option<&[u8]> {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let mut parts = path.split(|&b| b == b'/');
    let plain = path.len() <= MAX_PATH
        && parts.next() == Some(b"image")
        && parts.all(|part| !part.is_empty() && part.len() <= 255 && part != b"." && part != b"..");
    plain.then_some(path)
}

/// Paths of the symbolic links seen so far.
#[derive(Default)]
struct Links {
    paths: HashSet<Vec<u8>>,
    memory: u64,
}

impl Links {
    fn remember(&mut self, path: &[u8]) -> Result<(), GpkgError> {
        self.memory += path.len() as u64 + 64;
        if self.memory > MAX_LINK_MEMORY {
            let what = "the memory for symbolic links in bytes";
            return Err(GpkgError::TooLarge { place: PLACE.to_owned(), what, limit: MAX_LINK_MEMORY });
        }
        self.paths.insert(path.to_vec());
        Ok(())
    }

    /// Whether a parent of `path` is a symbolic link.
    fn lead_to(&self, path: &[u8]) -> bool {
        !self.paths.is_empty()
            && path.iter().enumerate().any(|(at, &b)| b == b'/' && self.paths.contains(&path[..at]))
    }
}
