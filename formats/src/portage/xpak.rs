//! XPAK, the older package format: a compressed tar followed by a metadata segment.
//!
//! An XPAK has neither digests nor signatures, so its metadata can be read and indexed, but its image cannot
//! be verified. Layout, with all numbers 32-bit big-endian: `image XPAKPACK index_len data_len index data
//! XPAKSTOP segment_len STOP`, where the index has `name_len name offset length` for each value.

use super::gpkg::Metadata;
use std::{
    collections::BTreeMap,
    io::{self, Read, Seek, SeekFrom},
};

/// The maximum size of a metadata segment in bytes.
pub const MAX_SEGMENT: u32 = 64 << 20;
/// Size in bytes of `XPAKSTOP`, the length and `STOP`.
const TRAILER: usize = 16;

/// Why the metadata of a file cannot be read as XPAK.
#[derive(Debug, thiserror::Error)]
pub enum XpakError {
    #[error("cannot read the package file: {0}")]
    Io(#[from] io::Error),
    /// The file has another format or is damaged.
    #[error("not a sound XPAK: {0}")]
    Malformed(&'static str),
    /// The size of the segment, in bytes, exceeds [`MAX_SEGMENT`].
    #[error("the XPAK metadata of {0} bytes exceeds the limit of {MAX_SEGMENT} bytes")]
    TooLarge(u32),
}

/// Reads the metadata at the end of a package file.
///
/// # Errors
/// Reading fails, or the file is not an XPAK.
pub fn read_metadata(mut file: impl Read + Seek) -> Result<Metadata, XpakError> {
    let size = file.seek(SeekFrom::End(0))?;
    let trailer_at = size.checked_sub(TRAILER as u64).ok_or(XpakError::Malformed("it is too short"))?;
    file.seek(SeekFrom::Start(trailer_at))?;
    let mut trailer = [0; TRAILER];
    file.read_exact(&mut trailer)?;
    if &trailer[..8] != b"XPAKSTOP" || &trailer[12..] != b"STOP" {
        return Err(XpakError::Malformed("it does not end in XPAKSTOP and STOP"));
    }
    // The length covers the segment from XPAKPACK through XPAKSTOP.
    let length = be32(&trailer, 8).ok_or(XpakError::Malformed("it has no segment length"))?;
    if length > MAX_SEGMENT {
        return Err(XpakError::TooLarge(length));
    }
    let begin = (size - 8).checked_sub(u64::from(length));
    let begin = begin.ok_or(XpakError::Malformed("its metadata is longer than the file"))?;
    file.seek(SeekFrom::Start(begin))?;
    let mut segment = vec![0; length as usize];
    file.read_exact(&mut segment)?;
    parse_segment(&segment)
}

/// Parses a segment from `XPAKPACK` through `XPAKSTOP`.
///
/// # Errors
/// [`XpakError::Malformed`] if the segment is anything else.
pub fn parse_segment(segment: &[u8]) -> Result<Metadata, XpakError> {
    let malformed = XpakError::Malformed;
    let body = segment
        .strip_prefix(b"XPAKPACK")
        .and_then(|rest| rest.strip_suffix(b"XPAKSTOP"))
        .ok_or(malformed("its metadata is not framed by XPAKPACK and XPAKSTOP"))?;
    let lengths = be32(body, 0).zip(be32(body, 4)).ok_or(malformed("its lengths are cut off"))?;
    let (index_len, data_len) = (lengths.0 as usize, lengths.1 as usize);
    if index_len.checked_add(data_len) != Some(body.len() - 8) {
        return Err(malformed("its lengths contradict each other"));
    }
    let (mut index, data) = body[8..].split_at(index_len);
    let mut values = BTreeMap::new();
    let mut total = 0;
    while !index.is_empty() {
        let name_len = be32(index, 0).ok_or(malformed("its index is cut off"))? as usize;
        let name_end = name_len.checked_add(4).filter(|&end| end <= index.len());
        let name_end = name_end.ok_or(malformed("a name is longer than the index"))?;
        let name = std::str::from_utf8(&index[4..name_end]).map_err(|_| malformed("a name is not UTF-8"))?;
        let place = be32(index, name_end).zip(be32(index, name_end + 4));
        let (offset, length) = place.ok_or(malformed("its index is cut off"))?;
        let value = (offset as usize)
            .checked_add(length as usize)
            .and_then(|end| data.get(offset as usize..end))
            .ok_or(malformed("a value lies outside the data"))?;
        // If values could overlap, a small file could fill the memory.
        total += value.len();
        if total > data.len() {
            return Err(malformed("its values overlap"));
        }
        let plain = !name.is_empty() && !name.contains('/');
        if !plain || values.insert(name.to_owned(), value.to_vec()).is_some() {
            return Err(malformed("a name is repeated or not plain"));
        }
        index = &index[name_end + 8..];
    }
    Ok(Metadata(values))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let four: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(u32::from_be_bytes(four))
}
