//! Images: the root file system of a base as one archive.
//!
//! The archive is a tar with PAX headers, compressed with zstd and named by the SHA-256 of
//! the *uncompressed* tar. The same file system always gives the same bytes: entries sorted
//! by path, each directory before what is in it, owners and groups by number, times in whole
//! seconds, of the names of one file the first as the file and the others as hard links to
//! it. There are no devices, pipes and sockets, and of the extended attributes only
//! capabilities and those of users (`user.*`).
//!
//! [`ImageContents`] writes one, [`unpack`] and [`verify`] read one. A reader trusts nothing:
//! images come over the network.

mod directory;
mod outline;
mod pack;
#[cfg(test)]
mod tests;
mod unpack;

pub use directory::{devices_note, is_in_dev, special};
pub use pack::{ImageContents, Place};
pub use unpack::{unpack, verify};

use super::tar_reader::TarError;
use crate::digest::Digest;
use std::io;

/// The uncompressed tar is never larger. A stage3 has about 1.5 GB.
pub const MAX_BYTES: u64 = 32 << 30;
/// It never has more entries. A stage3 has about 80,000.
pub const MAX_ENTRIES: u64 = 2_000_000;
/// The longest path; Linux takes none that is longer.
const MAX_PATH: usize = 4095;

/// What an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of the uncompressed tar, which is about what it takes on a disk.
    pub bytes: u64,
    /// The architecture of its shell, as [`std::env::consts::ARCH`] calls it.
    pub machine: String,
    /// Whether it has `/usr/bin/emerge`.
    pub has_portage: bool,
}

/// Why an image cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Reading or writing failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The archive is malformed.
    #[error("the archive cannot be read: {0}")]
    Archive(#[from] TarError),
    /// An entry that no image has.
    #[error("`{path}`: {why}")]
    Entry {
        /// The entry, with everything that is not printable escaped.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// It is larger than an image may be.
    #[error("more than {limit} {what}; is something in it that does not belong there?")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        limit: u64,
    },
    /// Nobody could work in it.
    #[error("it is no root file system: {0}")]
    NoRoot(String),
    /// The content is not what its name says.
    #[error("the content has the digest {got}, not {expected}; it was damaged or replaced on its way")]
    WrongDigest {
        /// The name.
        expected: Digest,
        /// The content's.
        got: Digest,
    },
}

impl ImageError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    fn entry(path: &[u8], why: impl Into<String>) -> Self {
        let path: String = String::from_utf8_lossy(path).chars().take(200).collect();
        Self::Entry { path: path.escape_debug().to_string(), why: why.into() }
    }
}

/// Whether `path` is a clean relative path.
fn check_path(path: &[u8]) -> Result<(), ImageError> {
    let plain = |part: &[u8]| !part.is_empty() && part.len() <= 255 && part != b"." && part != b"..";
    if path.len() > MAX_PATH || path.contains(&0) || !path.split(|&b| b == b'/').all(plain) {
        return Err(ImageError::entry(path, "is not a plain path within a root"));
    }
    Ok(())
}

/// The directory that `path` is in; empty for the root.
fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|&b| b == b'/').map_or(&[][..], |at| &path[..at])
}

/// Whether an image keeps an extended attribute of this name.
fn keeps(xattr: &[u8]) -> bool {
    // With those of the kernel's overlay, a file of the base could hide others.
    xattr == b"security.capability" || (xattr.starts_with(b"user.") && !xattr.starts_with(b"user.overlay."))
}
