//! The metadata archive: one regular file `metadata/KEY` for each value.

use super::{
    Limits, Metadata,
    error::{GpkgError, printable},
    values,
};
use crate::archive::tar_reader::{EntryKind, TarReader};
use std::{
    collections::BTreeMap,
    io::{self, Read},
};

const PLACE: &str = "the metadata archive";
/// The maximum number of metadata values of a package. Portage writes about fifty.
const MOST_KEYS: usize = 256;

/// Reads the decompressed archive to its end.
///
/// # Errors
/// The archive is invalid or exceeds `limits`, or cannot be read.
pub fn read(inflated: impl Read, limits: &Limits) -> Result<Metadata, GpkgError> {
    let mut tar = TarReader::new(inflated);
    let mut values = BTreeMap::new();
    while let Some(entry) = tar.next_entry().map_err(|error| GpkgError::archive(PLACE, error))? {
        let refuse = |reason| GpkgError::Metadata { entry: printable(&entry.path), reason };
        if entry.kind != EntryKind::File {
            return Err(refuse("is not a regular file"));
        }
        let key = entry.path.strip_prefix(b"metadata/").and_then(|key| std::str::from_utf8(key).ok());
        let key = key
            .filter(|key| values::is_key(key))
            .ok_or_else(|| refuse("is not a key directly below metadata/"))?;
        let too_large = |what, limit| GpkgError::TooLarge { place: PLACE.to_owned(), what, limit };
        if values.len() >= MOST_KEYS {
            return Err(too_large("the number of values", MOST_KEYS as u64));
        }
        // Refuse declared sizes before decompressing the data.
        let limit = values::most_bytes(key).min(limits.metadata_bytes);
        if entry.size > limit {
            return Err(GpkgError::TooLarge {
                place: format!("the metadata value {key}"),
                what: "its size in bytes",
                limit,
            });
        }
        let mut value = Vec::new();
        io::Read::read_to_end(&mut tar, &mut value).map_err(|error| GpkgError::reading(PLACE, error))?;
        if values.insert(key.to_owned(), value).is_some() {
            return Err(refuse("occurs twice"));
        }
    }
    Ok(Metadata(values))
}
