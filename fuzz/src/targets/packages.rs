//! The index of a binary package host: an accepted index is written such that it is read back equal: whole,
//! compressed, and entry by entry.

use std::{collections::BTreeMap, io::Read as _};
use swarm_formats::{
    archive::digests::FileHasher,
    portage::{
        gpkg::Metadata,
        packages_index::{Entry, IndexError, PackagesIndex, PublishedFile},
    },
};

/// Parses an index. Corrects a wrong number of packages, because mutations would hardly do so.
fn parse(text: &str) -> Option<(String, PackagesIndex)> {
    let text = match PackagesIndex::parse(text) {
        Err(IndexError::Count { declared, found }) => {
            let declared =
                if declared.is_empty() { "PACKAGES:".to_owned() } else { format!("PACKAGES: {declared}") };
            text.replacen(&declared, &format!("PACKAGES: {found}"), 1)
        }
        _ => text.to_owned(),
    };
    let index = PackagesIndex::parse(&text).ok()?;
    Some((text, index))
}

pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some(entry) = Entry::parse(text) {
        assert_eq!(Entry::parse(&entry.to_text()), Some(entry));
    }
    let Some((text, mut index)) = parse(text) else { return };
    assert!(index.len() <= text.len() / 5, "a package takes a line");
    let written = index.to_bytes();
    // A package inherits two values of the header. Each is at most as long as the header.
    let header: usize = index.header().iter().map(|(key, value)| key.len() + value.len() + 3).sum();
    assert!(written.len() <= 3 * text.len() + index.len() * header + 64);
    let again =
        PackagesIndex::parse(std::str::from_utf8(&written).unwrap()).expect("what was written is read");
    assert_eq!(again.to_bytes(), written);
    assert_eq!((again.header(), again.timestamp()), (index.header(), index.timestamp()));
    // A package cannot express that it lacks a value which the header has.
    let has_all = |key: &str| index.entries().all(|entry| !entry.get(key).is_empty());
    if has_all("CHOST") && has_all("repository") {
        assert_eq!(again, index);
    }
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&index.gz().unwrap()[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, written);
    // The order of insertion does not matter, and removing everything leaves nothing.
    let mut rebuilt = index.clone();
    let entries: Vec<Entry> = index.entries().cloned().collect();
    for (n, entry) in entries.iter().enumerate() {
        assert!(index.contains(entry) && rebuilt.remove(entry) && !rebuilt.contains(entry));
        assert_eq!(rebuilt.len(), entries.len() - n - 1);
    }
    entries.into_iter().rev().for_each(|entry| rebuilt.insert(entry));
    assert_eq!(rebuilt.to_bytes(), written);
}

pub fn seeds() -> Vec<Vec<u8>> {
    let header = [("ARCH", "amd64"), ("CHOST", "x86_64-pc-linux-gnu"), ("repository", "gentoo")];
    let mut index = PackagesIndex::new(header.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    index.set_timestamp(1_790_000_000);
    let mut seeds = vec![index.to_bytes()];
    for (pf, chost) in [("a-1", "x86_64-pc-linux-gnu"), ("a-1-r1", "aarch64-unknown-linux-gnu")] {
        let values =
            [("CATEGORY", "app-misc"), ("PF", pf), ("CHOST", chost), ("SLOT", "0/2"), ("BUILD_ID", "1")];
        let more = [("DESCRIPTION", "a stone"), ("repository", "other"), ("USE", "x y"), ("EAPI", "8")];
        let values = values.into_iter().chain(more);
        let values: BTreeMap<_, _> = values.map(|(key, value)| (key.to_owned(), value.into())).collect();
        let digests = FileHasher::default().finish();
        let file = PublishedFile { path: format!("app-misc/{pf}.gpkg.tar"), digests, mtime: 1_790_000_000 };
        let entry = Entry::new(&Metadata(values), &file).unwrap();
        seeds.push(entry.to_text().into());
        index.insert(entry);
        seeds.push(index.to_bytes());
    }
    seeds
}
