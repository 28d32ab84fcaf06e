//! Which compressions of the inner archives are read: those that every workstation's Portage
//! reads with what a Gentoo system has.
//!
//! An uncompressed inner archive is refused, because Portage's own reader hands it to the
//! decompressor that the workstation packs with, and fails; so are lzip and lzop, which few
//! systems have.

mod lz4;

use bzip2::{read::MultiBzDecoder, write::BzEncoder};
use flate2::{read::MultiGzDecoder, write::GzEncoder};
use liblzma::{
    read::XzDecoder,
    stream::{CONCATENATED, Stream},
    write::XzEncoder,
};
use lz4_flex::frame::FrameEncoder;
use std::io::{self, BufReader, Read, Write as _};

/// The largest zstd window as a power of two: 128 MiB, what `zstd -d` takes by default.
const WINDOW_LOG_MAX: u32 = 27;
/// Memory for xz, in bytes; `xz -9` takes 65 MiB.
const XZ_MEMORY: u64 = 128 << 20;

/// How an inner archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Zstd,
    Gzip,
    Xz,
    Bzip2,
    Lz4,
}

impl Compression {
    /// By the member's name after `metadata.tar` or `image.tar`.
    pub(super) fn of_suffix(suffix: &str) -> Option<Self> {
        match suffix {
            ".zst" => Some(Self::Zstd),
            ".gz" => Some(Self::Gzip),
            ".xz" => Some(Self::Xz),
            ".bz2" => Some(Self::Bzip2),
            ".lz4" => Some(Self::Lz4),
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
            Self::Xz => {
                let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)?;
                Box::new(XzDecoder::new_stream(reader, stream))
            }
            Self::Bzip2 => Box::new(MultiBzDecoder::new(reader)),
            Self::Lz4 => Box::new(lz4::Decoder::new(reader)),
        })
    }

    /// `bytes`, compressed.
    pub(super) fn encode(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd => zstd::encode_all(bytes, 3),
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::best());
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Self::Xz => {
                let mut encoder = XzEncoder::new(Vec::new(), 6);
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Self::Bzip2 => {
                let mut encoder = BzEncoder::new(Vec::new(), bzip2::Compression::best());
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Self::Lz4 => {
                let mut encoder = FrameEncoder::new(Vec::new());
                encoder.write_all(bytes)?;
                Ok(encoder.finish()?)
            }
        }
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
