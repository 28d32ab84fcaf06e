//! Errors of reading and writing archives.

use std::{io, path::PathBuf};

/// Why an archive cannot be read or written. All variants except [`NarError::Io`] and [`NarError::File`] mean
/// that the archive itself is invalid.
#[derive(Debug, thiserror::Error)]
pub enum NarError {
    /// The source or the destination failed, or a decompressor refused its input.
    #[error(transparent)]
    Io(io::Error),
    /// A file that is to be packed cannot be read.
    #[error("cannot pack `{}`: {error}", .path.display())]
    File {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    /// The archive ends too early.
    #[error("the NAR ends too early (byte {at})")]
    Truncated {
        /// The byte offset.
        at: u64,
    },
    /// The archive has a string other than the expected one.
    #[error("not a sound NAR: `{expected}` expected (byte {at})")]
    Expected {
        /// The byte offset.
        at: u64,
        expected: &'static str,
    },
    /// The archive violates the format in another way.
    #[error("not a sound NAR: {reason} (byte {at})")]
    Malformed {
        /// The byte offset.
        at: u64,
        reason: &'static str,
    },
    /// A limit was exceeded.
    #[error("the NAR is too large: {what} exceeds the limit of {limit}")]
    TooLarge {
        /// The quantity that is limited.
        what: &'static str,
        limit: u64,
    },
}

impl From<io::Error> for NarError {
    /// Unwraps the error that [`NarReader`](super::NarReader) returned through [`io::Read`].
    fn from(error: io::Error) -> Self {
        error.downcast().unwrap_or_else(Self::Io)
    }
}

impl NarError {
    /// Wraps the error for [`io::Read`].
    pub(super) fn into_io(self) -> io::Error {
        match self {
            Self::Io(error) => error,
            Self::Truncated { .. } => io::Error::new(io::ErrorKind::UnexpectedEof, self),
            _ => io::Error::new(io::ErrorKind::InvalidData, self),
        }
    }
}
