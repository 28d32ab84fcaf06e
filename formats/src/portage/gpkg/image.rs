//! The image archive: the files that will be merged into the root of a workstation.
//!
//! Nothing is unpacked. Every entry must have a clean path below `image/`, be a file, directory or
//! link, occur once, and have only directories above it. A hard link must name an earlier file.
//! Symbolic links may point anywhere, as they do in legitimate packages.

use super::{
    Limits,
    error::{GpkgError, printable},
    tree::{Clash, Kind, Tree},
};
use crate::archive::tar_reader::{EntryKind, TarEntry, TarReader};
use std::io::Read;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageSummary {
    /// Number of files, directories and links.
    pub entries: u64,
    /// Total size of all regular files in bytes.
    pub bytes: u64,
    /// Paths of files and links, such as `/usr/bin/tool`, each followed by a NUL. Paths of symbolic links end
    /// with `/`. If a package has several hundred thousand, only the first are kept.
    pub paths: Vec<u8>,
    /// Whether `paths` is incomplete.
    pub more_paths: bool,
}

const PLACE: &str = "the image archive";
/// The maximum length of a path in bytes. Linux allows 4095, including the directory in which the image is
/// unpacked.
const MAX_PATH: usize = 3072;
/// The maximum length of the target of a symbolic link in bytes, as in Linux.
const MAX_TARGET: usize = 4095;
/// The maximum number of components of a path.
const MAX_DEPTH: usize = 128;

/// Checks the decompressed archive to its end.
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
        // Refuse declared sizes before decompressing the data.
        if summary.bytes > limits.image_bytes {
            return Err(too_large("the size of all files in bytes", limits.image_bytes));
        }
        check_entry(&entry, &mut tree).map_err(|why| match why {
            Why::Refused(reason) => GpkgError::Image { entry: printable(&entry.path), reason },
            Why::TooMany => too_large("the number of paths", limits.image_entries),
        })?;
        if entry.kind != EntryKind::Directory
            && let Some(path) = entry.path.strip_prefix(b"image")
        {
            if ((summary.paths.len() + path.len()) as u64) < limits.paths_bytes {
                summary.paths.extend(path);
                summary.paths.extend_from_slice(if entry.kind == EntryKind::Symlink {
                    b"/\0"
                } else {
                    b"\0"
                });
            } else {
                summary.more_paths = true;
            }
        }
    }
    if summary.entries == 0 {
        // Portage requires the directory `image/` after unpacking.
        return Err(GpkgError::Image { entry: "image/".to_owned(), reason: "is not there" });
    }
    Ok(summary)
}

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
            return Err(Why::Refused("is a symbolic link whose target is not a path"));
        }
        EntryKind::Symlink => Kind::Symlink,
        EntryKind::Hardlink if tree.get(&entry.link) == Some(Kind::File) => Kind::File,
        EntryKind::Hardlink if is_inside(&entry.link) => {
            return Err(Why::Refused("is a hard link to something that is not an earlier file"));
        }
        EntryKind::Hardlink => return Err(Why::Refused("is a hard link to outside the image")),
        EntryKind::Special(_) => {
            return Err(Why::Refused(
                "is a device, a FIFO or another kind of file that a package must not contain",
            ));
        }
    };
    tree.add(path, kind).map_err(|clash| match clash {
        Clash::Twice => Why::Refused("occurs twice"),
        Clash::BehindSymlink => Why::Refused("lies behind a symbolic link of the same archive"),
        Clash::BelowFile => Why::Refused("lies below a file"),
        Clash::OverDirectory => Why::Refused("is a directory, as something lies below it"),
        Clash::TooMany => Why::TooMany,
    })
}

/// Whether the path is `image` or a clean path below it.
fn is_inside(path: &[u8]) -> bool {
    let plain = |part: &[u8]| !part.is_empty() && part.len() <= 255 && part != b"." && part != b"..";
    let parts = || path.split(|&b| b == b'/');
    path.len() <= MAX_PATH
        && is_text(path)
        && parts().next() == Some(b"image")
        && parts().all(plain)
        && parts().count() <= MAX_DEPTH
}

/// Whether the bytes are UTF-8 without control characters, because Portage lists one file per line.
fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| !text.contains(char::is_control))
}
