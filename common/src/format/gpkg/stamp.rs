//! The build time of a package, set while the package is read.
//!
//! Workstations tell a rebuild of a version by its later BUILD_TIME, so it may not come from
//! whichever clock built it. The metadata archive is written anew with another value, as
//! large as it was wherever that is possible, so that the rest of the file can stay where it
//! lies.

use super::{Metadata, compression::Compression};
use std::io;

const BLOCK: usize = 512;
/// What a skippable frame of zstd begins with (RFC 8878, section 3.1.2).
const SKIPPABLE: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];
/// Bytes of a skippable frame before its content.
const FRAME_HEADER: usize = 8;

/// A metadata archive that takes another one's place in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The member that it is, such as `metadata.tar.zst`.
    pub member: String,
    /// The byte of the file at which the old one's header begins, in a container whose
    /// [`body`](super::Gpkg::body) can be kept.
    pub at: u64,
    /// How many bytes the old one takes there.
    pub replaces: u64,
    /// The new archive.
    pub data: Vec<u8>,
    /// The new member: header, archive, padding.
    pub bytes: Vec<u8>,
}

impl Stamp {
    /// The metadata with another BUILD_TIME (seconds since the epoch), for a member called
    /// `path` that takes `size` bytes.
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
            // Its container is not kept as it lies, so only the archive matters.
            header = tar::Header::new_gnu();
        }
        describe(&mut header, data.len(), build_time);
        tar.append_data(&mut header, path, &data[..])?;
        let bytes = tar.get_ref().clone();
        let member = path.rsplit('/').next().unwrap_or(path).to_owned();
        Ok(Self { member, at: 0, replaces: 0, data, bytes })
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

/// A metadata archive of these values.
fn archive(metadata: &Metadata, mtime: u64) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (key, value) in &metadata.0 {
        let mut header = tar::Header::new_ustar();
        describe(&mut header, value.len(), mtime);
        tar.append_data(&mut header, format!("metadata/{key}"), &value[..])?;
    }
    tar.into_inner()
}

/// Compresses so that as many blocks are taken as by `size` bytes, if that can be.
fn compress(archive: &[u8], how: Compression, size: usize) -> io::Result<Vec<u8>> {
    if how != Compression::Zstd {
        return how.encode(archive);
    }
    let blocks = size.div_ceil(BLOCK);
    let mut data = Vec::new();
    for level in [3, 12, 19] {
        data = zstd::encode_all(archive, level)?;
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
