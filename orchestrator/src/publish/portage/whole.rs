//! Reads the two index files of a binary package host from disk and checks them for damage.

use crate::store::disk::DiskError;
use flate2::bufread::GzDecoder;
use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};
use swarm_formats::portage::packages_index::PackagesIndex;

/// The result of reading an index.
#[derive(Debug, Default)]
pub struct Found {
    /// The content of `Packages`, as far as it can be read.
    pub index: PackagesIndex,
    /// The damaged file, if any.
    pub damaged: Option<PathBuf>,
}

/// Reads the index in `dir`; empty if there is none.
///
/// # Errors
/// The disk fails. A damaged index is not an error.
pub fn read(dir: &Path) -> Result<Found, DiskError> {
    let path = dir.join("Packages");
    let Some(bytes) = bytes_of(&path)? else { return Ok(Found::default()) };
    let parsed = std::str::from_utf8(&bytes).ok().and_then(|text| PackagesIndex::parse(text).ok());
    let Some(index) = parsed else {
        return Ok(Found { index: PackagesIndex::default(), damaged: Some(path) });
    };
    if index.to_bytes() != bytes {
        return Ok(Found { index, damaged: Some(path) });
    }
    let packed = dir.join("Packages.gz");
    let same = bytes_of(&packed)?.is_some_and(|gz| says(&gz, &bytes, index.timestamp()));
    Ok(Found { index, damaged: (!same).then_some(packed) })
}

/// Whether a gzip file has this content and timestamp.
fn says(gz: &[u8], bytes: &[u8], timestamp: u64) -> bool {
    let mut decoder = GzDecoder::new(gz).take(bytes.len() as u64 + 1);
    let mut unpacked = Vec::with_capacity(bytes.len() + 1);
    if decoder.read_to_end(&mut unpacked).is_err() || unpacked != bytes {
        return false;
    }
    let decoder = decoder.into_inner();
    let dated = decoder.header().is_some_and(|head| u64::from(head.mtime()) == timestamp);
    dated && decoder.into_inner().is_empty()
}

fn bytes_of(path: &Path) -> Result<Option<Vec<u8>>, DiskError> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some).map_err(DiskError::at("read", path)),
    }
}
