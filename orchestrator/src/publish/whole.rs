//! The two index files of a binary package host as they are on the disk, and whether they are
//! as they were written.

use crate::artifact::disk::DiskError;
use flate2::bufread::GzDecoder;
use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};
use swarm_common::format::packages_index::PackagesIndex;

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// What `Packages` says, as far as it can be read.
    pub index: PackagesIndex,
    /// The file that is not as it was written.
    pub damaged: Option<PathBuf>,
}

/// Reads the index in `dir`; an empty one if there is none.
///
/// # Errors
/// If the disk fails. A damaged index is no error.
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

/// Whether a gzip file holds these bytes and was made at this time.
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
