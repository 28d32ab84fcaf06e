//! Errors of reading and writing archives.

use std::{io, path::PathBuf};

/// Why an archive cannot be read or written. All but [`NarError::Io`] and [`NarError::File`]
/// mean that the archive itself is bad.
#[derive(Debug, thiserror::Error)]
pub enum NarError {
    /// The source or the destination failed, or a decompressor refused its input.
    #[error(transparent)]
    Io(io::Error),
    /// A file that should be packed cannot be read.
    #[error("cannot pack `{}`: {error}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// It ends in the middle of something.
    #[error("the NAR ends too early (byte {at})")]
    Truncated {
        /// Where.
        at: u64,
    },
    /// A string other than the expected one.
    #[error("not a sound NAR: `{expected}` expected (byte {at})")]
    Expected {
        /// Where.
        at: u64,
        /// The expected string.
        expected: &'static str,
    },
    /// Any other violation of the format.
    #[error("not a sound NAR: {reason} (byte {at})")]
    Malformed {
        /// Where.
        at: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// A limit was exceeded.
    #[error("the NAR is too large: {what} exceeds the limit of {limit}")]
    TooLarge {
        /// What was counted.
        what: &'static str,
        /// The bound.
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
