//! The accepted compressions of the inner archives: those that Portage can read on any workstation
//! with the tools of a Gentoo base system.
//!
//! An uncompressed inner archive is refused, because Portage passes it to the decompressor of the format that
//! the workstation itself packs with, which fails. lzip and lzop are refused because few systems have them.

mod lz4;

use crate::archive::WINDOW_LOG_MAX;

use bzip2::{read::MultiBzDecoder, write::BzEncoder};
use flate2::{read::MultiGzDecoder, write::GzEncoder};
use liblzma::{
    read::XzDecoder,
    stream::{CONCATENATED, Stream},
    write::XzEncoder,
};
use lz4_flex::frame::FrameEncoder;

use std::io::{self, BufReader, Read, Write as _};

/// The memory limit for xz in bytes. The default, `xz -6`, needs 9 MiB.
const XZ_MEMORY: u64 = 16 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Zstd,
    Gzip,
    Xz,
    Bzip2,
    Lz4,
}

impl Compression {
    /// Parses the part of a member name that follows `metadata.tar` or `image.tar`.
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

    /// Decompresses `reader`, including all concatenated frames.
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

/// Decompresses an inner archive whose member name has `suffix` after `metadata.tar` or `image.tar`. `None`
/// if that compression is not supported. The output is not limited, so use it only for files that passed
/// [`super::verify`].
///
/// # Errors
/// The decompressor cannot be initialised.
pub fn inner<'a>(suffix: &str, reader: impl Read + 'a) -> io::Result<Option<Box<dyn Read + 'a>>> {
    Compression::of_suffix(suffix).map(|how| how.decoder(reader)).transpose()
}
