//! Sets the build time of a package while the package is read.
//!
//! Workstations recognise a rebuild of a version by its later BUILD_TIME, so the value must not
//! depend on the clock of the drone that built it. The metadata archive is rewritten with the new
//! value and, where possible, at the old size, so that the rest of the file stays in place.

use super::{Metadata, compression::Compression};
use std::io;

const BLOCK: usize = 512;
/// Metadata archives above this size in bytes are large. Typical ones have a few hundred thousand bytes.
const LARGE: usize = 2 << 20;
/// Magic number of a zstd skippable frame (RFC 8878, section 3.1.2).
const SKIPPABLE: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];
/// Size of the header of a skippable frame in bytes.
const FRAME_HEADER: usize = 8;

/// A metadata archive that replaces the one in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The name of the member, such as `metadata.tar.zst`.
    pub member: String,
    /// Byte offset of the old member's header in the file. It is used only if the [`body`](super::Gpkg::body)
    /// of the container can be kept.
    pub at: u64,
    /// Size of the old member in bytes, including header and padding.
    pub replaces: u64,
    pub data: Vec<u8>,
    /// The new member: header, archive and padding.
    pub bytes: Vec<u8>,
    /// The new directory of the container. `None` if it stays the same.
    pub directory: Option<String>,
}

impl Stamp {
    /// Sets BUILD_TIME (seconds since the Unix epoch) in the metadata, and makes the new archive for a member
    /// `path` that occupies `size` bytes.
    pub(super) fn new(
        metadata: &mut Metadata,
        build_time: u64,
        path: &str,
        how: Compression,
        size: u64,
    ) -> io::Result<Self> {
        metadata.0.insert("BUILD_TIME".to_owned(), format!("{build_time}\n").into_bytes());
        let data = compress(&archive(metadata, build_time)?, how, usize::try_from(size).unwrap_or(0))?;
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        let long = path.len() > 100;
        if long {
            // A container with such a path is rewritten as a whole, so only the archive matters.
            header = tar::Header::new_gnu();
        }
        describe(&mut header, data.len(), build_time);
        tar.append_data(&mut header, path, &data[..])?;
        let mut bytes = tar.into_inner()?;
        // Remove the end-of-archive marker.
        bytes.truncate(bytes.len() - 2 * BLOCK);
        let member = path.rsplit('/').next().unwrap_or(path).to_owned();
        Ok(Self { member, at: 0, replaces: 0, data, bytes, directory: None })
    }
}

fn describe(header: &mut tar::Header, size: usize, mtime: u64) {
    header.set_size(size as u64);
    header.set_mode(0o644);
    header.set_mtime(mtime);
    header.set_uid(0);
    header.set_gid(0);
    header.set_entry_type(tar::EntryType::Regular);
}

/// A metadata archive with these values.
fn archive(metadata: &Metadata, mtime: u64) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (key, value) in &metadata.0 {
        let mut header = tar::Header::new_ustar();
        describe(&mut header, value.len(), mtime);
        tar.append_data(&mut header, format!("metadata/{key}"), &value[..])?;
    }
    tar.into_inner()
}

/// Compresses an archive to the same number of tar blocks as `size` bytes, if possible.
fn compress(archive: &[u8], how: Compression, size: usize) -> io::Result<Vec<u8>> {
    if how != Compression::Zstd {
        return how.encode(archive);
    }
    let blocks = size.div_ceil(BLOCK);
    let mut data = Vec::new();
    // For a large archive, rewriting the whole container is no more expensive.
    let levels: &[i32] = if archive.len() <= LARGE { &[3, 12, 19] } else { &[3] };
    for &level in levels {
        // The bulk API knows the size of the input and allocates only the memory needed for it.
        data = zstd::bulk::compress(archive, level)?;
        if data.len().div_ceil(BLOCK) <= blocks {
            break;
        }
    }
    let least = blocks.saturating_sub(1) * BLOCK + 1;
    if data.len() < least {
        let content = (least - data.len()).saturating_sub(FRAME_HEADER);
        data.extend(SKIPPABLE);
        data.extend((content as u32).to_le_bytes());
        data.resize(data.len() + content, 0);
    }
    Ok(data)
}
