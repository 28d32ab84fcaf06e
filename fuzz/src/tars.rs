//! Helpers for tar archives: correct header checksums, and reading with the independent `tar` crate.

#[allow(dead_code, reason = "shared with the tests of common")]
#[path = "../../formats/tests/forge/mod.rs"]
pub mod forge;

use std::io::{self, Read};

const BLOCK: usize = 512;

/// Positions of the headers, and last the end of the archive: an empty block or the end of the data.
fn places(archive: &[u8]) -> Vec<usize> {
    let mut places = vec![0];
    while let Some(header) = places.last().and_then(|&at| archive.get(at..at + BLOCK)) {
        if header.iter().all(|&b| b == 0) {
            break;
        }
        let digits = header[124..136].iter().skip_while(|&&b| b == b' ').take_while(|b| b.is_ascii_digit());
        let size = digits.fold(0, |size: usize, digit| (size << 3) | usize::from(digit & 7));
        places.extend(places.last().map(|at| at + BLOCK + size.min(archive.len()).next_multiple_of(BLOCK)));
    }
    places
}

/// Corrects the checksum of every header, so that mutated headers pass this check.
pub fn seal(archive: &mut [u8]) {
    let places = places(archive);
    for at in &places[..places.len() - 1] {
        forge::seal(&mut archive[*at..at + BLOCK]);
    }
}

/// Whether the archive ends directly after its end marker.
pub fn ends_at_once(archive: &[u8]) -> bool {
    let end = places(archive).last().and_then(|&at| archive.get(at..));
    end.is_some_and(|end| end.len() == 2 * BLOCK && end.iter().all(|&b| b == 0))
}

/// The archive in an input. The first byte decides whether it is sealed and gets an end marker.
pub fn archive(input: &[u8]) -> Option<Vec<u8>> {
    let (&mode, archive) = input.split_first()?;
    let mut archive = archive.to_vec();
    if mode & 1 != 0 {
        seal(&mut archive);
    }
    if mode & 2 != 0 {
        end(&mut archive);
    }
    Some(archive)
}

/// Adds padding and the end-of-archive marker.
pub fn end(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
}

#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub path: Vec<u8>,
    pub kind: u8,
    pub link: Vec<u8>,
    pub data: Vec<u8>,
}

/// What the `tar` crate finds.
pub fn others(archive: impl Read) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let mut data = Vec::new();
        entry.read_to_end(&mut data)?;
        let kind = match entry.header().entry_type().as_byte() {
            0 => b'0',
            kind => kind,
        };
        let link = text(&entry.link_name_bytes().unwrap_or_default());
        found.push(Found { path: text(&entry.path_bytes()), kind, link, data });
    }
    Ok(found)
}

/// Without trailing NULs, of which the `tar` crate removes only one.
fn text(name: &[u8]) -> Vec<u8> {
    let end = name.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
    name[..end].to_vec()
}
