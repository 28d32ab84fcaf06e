//! Concatenated lz4 frames.
//!
//! [`FrameDecoder`] reads one frame and does not distinguish the end of the frame from the end of the data.
//! `lz4 -d` reports a truncated frame and continues with the next one. So the frame structure is tracked here
//! while the bytes pass through (LZ4 Frame Format Description 1.6.4).

use crate::archive::bounded::Fault;
use lz4_flex::frame::FrameDecoder;
use std::io::{self, Read};

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];

/// Decodes all frames to the end of the source.
pub(super) struct Decoder<R: Read> {
    frame: Option<FrameDecoder<Frames<R>>>,
}

impl<R: Read> Decoder<R> {
    pub(super) fn new(source: R) -> Self {
        let frames = Frames { source, part: Part::Start, seen: Vec::new(), remaining: 6, ended: false };
        Self { frame: Some(FrameDecoder::new(frames)) }
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(frame) = &mut self.frame {
            let n = frame.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            // A frame has ended. The next one needs a new decoder.
            let frames = self.frame.take().map(FrameDecoder::into_inner);
            self.frame = frames.filter(|frames| !frames.ended).map(FrameDecoder::new);
        }
        Ok(0)
    }
}

/// The part of a frame that comes next.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// Magic number, flags and block size. The source may end before the first byte of this part.
    Start,
    /// The header fields that depend on the flags.
    Header { blocks: bool, content: bool },
    /// The length of a block, or the end mark.
    Length { blocks: bool, content: bool },
    /// A block and its checksum.
    Block { blocks: bool, content: bool },
    /// The checksum of the content, after which the frame ends.
    End,
}

/// The source of frames. If it ends within a frame, that is an error.
struct Frames<R> {
    source: R,
    part: Part,
    /// The bytes read of a part that determines the length of the next part.
    seen: Vec<u8>,
    /// Number of bytes still missing from the current part.
    remaining: u64,
    ended: bool,
}

impl<R: Read> Frames<R> {
    fn next(&mut self) -> io::Result<()> {
        let seen = std::mem::take(&mut self.seen);
        (self.part, self.remaining) = match self.part {
            Part::Start => {
                let flags = seen[4];
                // Packages do not use skippable frames, legacy formats and dictionaries.
                if seen[..4] != MAGIC || flags >> 6 != 1 || flags & 0b11 != 0 {
                    return Err(invalid("not a frame of lz4"));
                }
                let size = if flags & 0b1000 == 0 { 0 } else { 8 };
                (Part::Header { blocks: flags & 0b1_0000 != 0, content: flags & 0b100 != 0 }, size + 1)
            }
            Part::Header { blocks, content } | Part::Block { blocks, content } => {
                (Part::Length { blocks, content }, 4)
            }
            Part::Length { blocks, content } => {
                let length = seen.iter().rev().fold(0_u64, |sum, &b| (sum << 8) | u64::from(b));
                match (length, content) {
                    (0, true) => (Part::End, 4),
                    (0, false) => (Part::Start, 6),
                    _ => {
                        // The highest bit marks an uncompressed block.
                        let checksum = if blocks { 4 } else { 0 };
                        (Part::Block { blocks, content }, (length & 0x7fff_ffff) + checksum)
                    }
                }
            }
            Part::End => (Part::Start, 6),
        };
        Ok(())
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        let n = self.source.read(&mut buffer[..want])?;
        if n == 0 && want > 0 {
            self.ended = true;
            let between = matches!(self.part, Part::Start) && self.seen.is_empty();
            return if between { Ok(0) } else { Err(Fault::Truncated.into_io()) };
        }
        if matches!(self.part, Part::Start | Part::Length { .. }) {
            self.seen.extend_from_slice(&buffer[..n]);
        }
        self.remaining -= n as u64;
        while self.remaining == 0 {
            self.next()?;
        }
        Ok(n)
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
