//! Images: the root file system of a base as one archive.
//!
//! The archive is a tar with PAX headers, compressed with zstd and identified by the SHA-256 of the
//! *uncompressed* tar. It is reproducible: entries are sorted by path, each directory precedes its content,
//! owners and groups are numeric, times are whole seconds, and of several hard links the first is the file
//! and the others link to it. Devices, pipes and sockets are left out, as are extended attributes other than
//! capabilities and user attributes (`user.*`).
//!
//! [`ImageContents`] writes an image; [`unpack()`] and [`verify`] read one. Readers treat their input as
//! untrusted, because images come over the network.

mod directory;
mod outline;
mod pack;
#[cfg(test)]
mod tests;
mod unpack;

pub use directory::{devices_note, is_in_dev, special};
pub use pack::{ContentSource, ImageContents};
pub use unpack::{unpack, verify};

use crate::archive::tar_reader::TarError;
use std::io;
use swarm_common::{digest::Digest, wire::base::UsrMerge};

/// The maximum size of the uncompressed tar in bytes. A stage3 has about 1.5 GB.
pub const MAX_BYTES: u64 = 32 << 30;
/// The maximum number of entries. A stage3 has about 80,000.
pub const MAX_ENTRIES: u64 = 2_000_000;
/// The maximum size of all paths and link targets together in bytes. Readers keep them in memory. A stage3
/// has about 6 MB.
pub const MAX_PATH_BYTES: u64 = 256 << 20;
/// The maximum length of a path in bytes, as in Linux.
const MAX_PATH: usize = 4095;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// Number of files, directories and links.
    pub entries: u64,
    /// Size of the uncompressed tar in bytes, about the space needed on disk.
    pub bytes: u64,
    /// The architecture of the image's shell, as in [`std::env::consts::ARCH`].
    pub machine: String,
    /// Whether it has `/usr/bin/emerge`.
    pub has_portage: bool,
    /// Which directories of the image are links below `/usr`.
    pub usr: UsrMerge,
}

/// Why an image cannot be created or used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        source: io::Error,
    },
    #[error("the archive cannot be read: {0}")]
    Archive(#[from] TarError),
    /// An entry is not allowed in an image.
    #[error("`{path}`: {why}")]
    Entry {
        /// The entry's path, with non-printable characters escaped.
        path: String,
        why: String,
    },
    #[error("more than {limit} {what}; is something in it that does not belong there?")]
    TooLarge { what: &'static str, limit: u64 },
    /// The content is not a usable root file system.
    #[error("it is no root file system: {0}")]
    NoRoot(String),
    /// The content does not match its digest.
    #[error("the content has the digest {got}, not {expected}; it was damaged or replaced on its way")]
    WrongDigest { expected: Digest, got: Digest },
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

/// The parent directory of `path`; empty for the root.
fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|&b| b == b'/').map_or(&[][..], |at| &path[..at])
}

/// Whether an image keeps this extended attribute.
fn keeps(xattr: &[u8]) -> bool {
    // Overlayfs attributes could make a file of the base hide others.
    xattr == b"security.capability" || (xattr.starts_with(b"user.") && !xattr.starts_with(b"user.overlay."))
}
