//! Errors of GPKG verification.

use crate::archive::{bounded::Fault, tar_reader::TarError};
use std::io;

/// Why a file is not an acceptable GPKG. Only [`GpkgError::Io`] is not the fault of the file.
#[derive(Debug, thiserror::Error)]
pub enum GpkgError {
    /// The file could not be read. Nothing is known about its content.
    #[error("cannot read the package file: {0}")]
    Io(#[source] io::Error),
    #[error("{place} is cut off: the data ends too early")]
    Truncated {
        /// The affected archive or member.
        place: String,
    },
    /// A tar archive is malformed.
    #[error("{place} is not a valid tar archive: {reason}")]
    Archive {
        /// The affected archive.
        place: String,
        reason: String,
    },
    /// Compressed data is malformed.
    #[error("{place} cannot be decompressed: {reason}")]
    Compressed {
        /// The affected member.
        place: String,
        /// The decompressor's message.
        reason: String,
    },
    /// A limit was exceeded.
    #[error("{place} is too large: {what} exceeds the limit of {limit}")]
    TooLarge {
        /// The affected archive or member.
        place: String,
        /// The quantity that is limited.
        what: &'static str,
        limit: u64,
    },
    /// The container's members are not those of a GPKG.
    #[error("not a sound GPKG container: member `{member}` {reason}")]
    Member { member: String, reason: &'static str },
    #[error("not a GPKG: there is no `{0}`")]
    Missing(&'static str),
    /// A member uses an unsupported compression.
    #[error(
        "`{member}` is not compressed with zstd, xz, gzip, bzip2 or lz4: set BINPKG_COMPRESS=\"zstd\" on the drone"
    )]
    Compressor { member: String },
    /// The Manifest is malformed or does not match the members.
    #[error("the Manifest {reason}")]
    Manifest {
        /// What is wrong, phrased to follow "the Manifest".
        reason: String,
    },
    /// A member differs from its Manifest entry.
    #[error("`{member}` does not match the Manifest: its {what} differs")]
    Mismatch {
        member: String,
        /// The differing value: `size`, `SHA512` or `BLAKE2B`.
        what: &'static str,
    },
    /// The metadata archive has an invalid entry.
    #[error("metadata entry `{entry}` {reason}")]
    Metadata { entry: String, reason: &'static str },
    /// A metadata value is invalid for its key.
    #[error("{key} of the package {reason}")]
    Value { key: String, reason: String },
    /// The metadata lacks a key without which Portage cannot install the package.
    #[error("the package has no `{key}` in its metadata, without which it cannot be installed")]
    Lacks { key: String },
    /// The image archive has an invalid entry.
    #[error("image entry `{entry}` {reason}")]
    Image { entry: String, reason: &'static str },
}

impl GpkgError {
    /// A stable identifier of the kind of error.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Io(_) => "unreadable",
            Self::Truncated { .. } => "truncated",
            Self::Archive { .. } => "bad-archive",
            Self::Compressed { .. } => "bad-compression",
            Self::TooLarge { .. } => "too-large",
            Self::Member { .. } => "bad-member",
            Self::Missing(_) => "missing-member",
            Self::Compressor { .. } => "unsupported-compressor",
            Self::Manifest { .. } => "bad-manifest",
            Self::Mismatch { .. } => "manifest-mismatch",
            Self::Metadata { .. } | Self::Value { .. } | Self::Lacks { .. } => "bad-metadata",
            Self::Image { .. } => "bad-image",
        }
    }

    /// Classifies an error that occurred while reading `place`. An error without a [`Fault`] came from a
    /// decompressor.
    pub(crate) fn reading(place: &str, error: io::Error) -> Self {
        let place = place.to_owned();
        match Fault::of(error) {
            Ok(Fault::Source(error)) => Self::Io(error),
            Ok(Fault::Truncated) => Self::Truncated { place },
            Ok(Fault::TooLarge { what, limit }) => Self::TooLarge { place, what, limit },
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Self::Truncated { place },
            Err(error) => Self::Compressed { place, reason: printable(error.to_string().as_bytes()) },
        }
    }

    pub(crate) fn archive(place: &str, error: TarError) -> Self {
        match error {
            TarError::Io(error) => Self::reading(place, error),
            TarError::Malformed(reason) => {
                Self::Archive { place: place.to_owned(), reason: reason.to_owned() }
            }
        }
    }
}

/// Escapes and shortens an untrusted name for display.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes).chars().take(120).collect();
    text.escape_debug().to_string()
}
