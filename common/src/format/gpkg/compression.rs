//! Which compressions of the inner archives are read.
//!
//! zstd is Portage's default and gzip is everywhere; each further one would be another
//! parser for hostile bytes. An uncompressed inner archive is refused as well, because
//! Portage's own reader fails on it unless the workstation is configured for that.

use flate2::read::MultiGzDecoder;
use std::io::{self, BufReader, Read};

/// The largest zstd window as a power of two: 128 MiB, what `zstd -d` takes by default.
const WINDOW_LOG_MAX: u32 = 27;

/// How an inner archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Zstd,
    Gzip,
}

impl Compression {
    /// By the member's name after `metadata.tar` or `image.tar`.
    pub(super) fn of_suffix(suffix: &str) -> Option<Self> {
        match suffix {
            ".zst" => Some(Self::Zstd),
            ".gz" => Some(Self::Gzip),
            _ => None,
        }
    }

    /// The decompressed bytes of `reader`, all concatenated frames of it.
    pub(super) fn decoder<'a>(self, reader: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Zstd => {
                let mut decoder = zstd::Decoder::new(reader)?;
                decoder.window_log_max(WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
            Self::Gzip => Box::new(MultiGzDecoder::new(BufReader::new(reader))),
        })
    }
}

/// The decompressed bytes of an inner archive, whose member's name ends with `suffix` after
/// `metadata.tar` or `image.tar`; `None` if that is no compression that is read here. For files
/// that passed [`super::verify`]: nothing is bounded.
///
/// # Errors
/// The decompressor cannot be made.
pub fn inner<'a>(suffix: &str, reader: impl Read + 'a) -> io::Result<Option<Box<dyn Read + 'a>>> {
    Compression::of_suffix(suffix).map(|how| how.decoder(reader)).transpose()
}
