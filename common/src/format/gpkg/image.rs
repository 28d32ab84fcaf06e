//! The image archive: what will be merged into a workstation's root.
//!
//! Nothing is unpacked. Every entry must lie below `image/` without tricks, be a file,
//! directory or link, be there once, and lie in directories only. A hard link names a file that
//! came before it. Symbolic links may point anywhere, as packages legitimately do.

use super::{
    Limits,
    error::{GpkgError, printable},
    tree::{Clash, Kind, Tree},
};
use crate::format::tar_reader::{EntryKind, TarEntry, TarReader};
use std::io::Read;

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
/// Longest path, in bytes. Linux takes 4095, with that of the directory it is unpacked in.
const MAX_PATH: usize = 3072;
/// Longest target of a symbolic link, in bytes; Linux takes none that is longer.
const MAX_TARGET: usize = 4095;
/// Names of a path at most.
const MAX_DEPTH: usize = 128;
/// Memory for the paths that are told, in bytes: the largest source trees take half of it.
const MAX_PATHS_MEMORY: usize = 16 << 20;

/// Checks the archive from its decompressed bytes, to their end.
pub(super) fn check(inflated: impl Read, limits: &Limits) -> Result<ImageSummary, GpkgError> {
    let mut tar = TarReader::new(inflated);
    let mut summary = ImageSummary::default();
    let mut tree = Tree::new(limits.image_entries);
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
        check_entry(&entry, &mut tree).map_err(|why| match why {
            Why::Refused(reason) => GpkgError::Image { entry: printable(&entry.path), reason },
            Why::TooMany => too_large("the number of paths", limits.image_entries),
        })?;
        if entry.kind != EntryKind::Directory
            && let Some(path) = entry.path.strip_prefix(b"image")
            && summary.paths.len() + path.len() < MAX_PATHS_MEMORY
        {
            summary.paths.extend(path);
            summary.paths.push(0);
        }
    }
    if summary.entries == 0 {
        // Portage looks for the directory that it has unpacked.
        return Err(GpkgError::Image { entry: "image/".to_owned(), reason: "is not there" });
    }
    Ok(summary)
}

/// Why an entry is not taken.
enum Why {
    Refused(&'static str),
    TooMany,
}

fn check_entry(entry: &TarEntry, tree: &mut Tree) -> Result<(), Why> {
    let path = match entry.kind {
        EntryKind::Directory => entry.path.strip_suffix(b"/").unwrap_or(&entry.path),
        _ => &entry.path,
    };
    if !is_inside(path) {
        return Err(Why::Refused("is not a plain path below image/"));
    }
    if path == b"image" && entry.kind != EntryKind::Directory {
        return Err(Why::Refused("should be a directory"));
    }
    let kind = match entry.kind {
        EntryKind::Directory => Kind::Directory,
        EntryKind::File => Kind::File,
        EntryKind::Symlink if entry.link.is_empty() => {
            return Err(Why::Refused("is a symbolic link to nothing"));
        }
        EntryKind::Symlink if entry.link.len() > MAX_TARGET || !is_text(&entry.link) => {
            return Err(Why::Refused("is a symbolic link whose target is no path"));
        }
        EntryKind::Symlink => Kind::Symlink,
        EntryKind::Hardlink if tree.get(&entry.link) == Some(Kind::File) => Kind::File,
        EntryKind::Hardlink if is_inside(&entry.link) => {
            return Err(Why::Refused("is a hard link to what is no file before it"));
        }
        EntryKind::Hardlink => return Err(Why::Refused("is a hard link to outside the image")),
        EntryKind::Special(_) => {
            return Err(Why::Refused("is a device, a fifo or something else that packages may not hold"));
        }
    };
    tree.add(path, kind).map_err(|clash| match clash {
        Clash::Twice => Why::Refused("is there twice"),
        Clash::BehindSymlink => Why::Refused("lies behind a symbolic link of the same archive"),
        Clash::BelowFile => Why::Refused("lies below a file"),
        Clash::OverDirectory => Why::Refused("is a directory, as something lies below it"),
        Clash::TooMany => Why::TooMany,
    })
}

/// Whether it is `image` or plainly below it.
fn is_inside(path: &[u8]) -> bool {
    let plain = |part: &[u8]| !part.is_empty() && part.len() <= 255 && part != b"." && part != b"..";
    let parts = || path.split(|&b| b == b'/');
    path.len() <= MAX_PATH
        && is_text(path)
        && parts().next() == Some(b"image")
        && parts().all(plain)
        && parts().count() <= MAX_DEPTH
}

/// UTF-8 without control characters: Portage lists files one a line.
fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| !text.contains(char::is_control))
}
