//! Readers of package formats return what was written, and survive any other input.

use super::forge::{Forge, image, metadata, seal};
use proptest::{
    collection::{btree_map, vec},
    prelude::*,
    sample::{Index, select},
};
use std::{
    collections::BTreeMap,
    io::{Cursor, Read},
};
use swarm_formats::{
    archive::{
        digests::FileHasher,
        tar_reader::{EntryKind, TarReader},
    },
    portage::{
        gpkg::{self, Limits, Metadata},
        packages_index::{Entry, PackagesIndex, PublishedFile},
        xpak,
    },
};

/// Bytes to set and where to truncate, as positions in a file of any length.
type Damage = (Vec<(Index, u8)>, Option<Index>);

fn damage() -> impl Strategy<Value = Damage> {
    (vec((any::<Index>(), any::<u8>()), 0..4), prop::option::weighted(0.25, any::<Index>()))
}

fn damaged(bytes: &[u8], (set, cut): &Damage) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (at, byte) in set {
        let at = at.index(bytes.len());
        bytes[at] = *byte;
    }
    bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
    bytes
}

/// An XPAK as Portage writes it.
fn xpak(image: &[u8], values: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let be32 = |length: usize| u32::try_from(length).unwrap().to_be_bytes();
    let (mut index, mut data) = (Vec::new(), Vec::new());
    for (name, value) in values {
        index
            .extend([&be32(name.len())[..], name.as_bytes(), &be32(data.len()), &be32(value.len())].concat());
        data.extend(value);
    }
    let lengths = [be32(index.len()), be32(data.len())].concat();
    let segment = [b"XPAKPACK", &lengths[..], &index, &data, b"XPAKSTOP"].concat();
    [image, &segment, &be32(segment.len()), b"STOP"].concat()
}

/// An archive written by the `tar` crate.
fn tar(files: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut archive = ::tar::Builder::new(Vec::new());
    for (path, contents) in files {
        let mut header = ::tar::Header::new_ustar();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        archive.append_data(&mut header, path, contents.as_slice()).unwrap();
    }
    archive.into_inner().unwrap()
}

/// The files of an archive up to the first error, and whether there was none.
fn files(bytes: &[u8]) -> (BTreeMap<String, Vec<u8>>, bool) {
    let (mut reader, mut found) = (TarReader::new(bytes), BTreeMap::new());
    loop {
        let entry = match reader.next_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => return (found, true),
            Err(_) => return (found, false),
        };
        let mut contents = Vec::new();
        let read = reader.read_to_end(&mut contents);
        if read.is_err() || reader.attributes().is_err() {
            return (found, false);
        }
        assert_eq!(contents.len() as u64, entry.size);
        if entry.kind == EntryKind::File {
            found.insert(String::from_utf8_lossy(&entry.path).into_owned(), contents);
        }
    }
}

fn entry() -> impl Strategy<Value = Entry> {
    let key = select(vec!["BUILD_ID", "DEPEND", "EAPI", "SLOT", "USE"]);
    let names = ["[a-z]{1,3}-[a-z]{1,3}", "[a-z]{1,3}-[0-9]{1,2}", "[a-z]{1,2}", "[a-z]{1,2}"];
    (names, btree_map(key, any::<String>(), 0..5), any::<u32>()).prop_map(|(names, mut values, mtime)| {
        let path = format!("{}/{}.gpkg.tar", names[0], names[1]);
        values.extend(["CATEGORY", "PF", "CHOST", "repository"].into_iter().zip(names));
        let values = values.into_iter().map(|(key, value)| (key.to_owned(), value.into_bytes()));
        let mut hasher = FileHasher::default();
        hasher.update(path.as_bytes());
        let file = PublishedFile { path, digests: hasher.finish(), mtime: mtime.into() };
        Entry::new(&Metadata(values.collect()), &file).unwrap()
    })
}

fn index() -> impl Strategy<Value = PackagesIndex> {
    let key = select(vec!["ARCH", "CHOST", "USE", "VERSION", "a b", "repository"]);
    let header = btree_map(key.prop_map(str::to_owned), prop_oneof!["[a-z]{1,2}", any::<String>()], 0..5);
    (header, vec(entry(), 0..6), any::<u32>()).prop_map(|(header, entries, seconds)| {
        let mut index = PackagesIndex::new(header);
        index.set_timestamp(seconds.into());
        entries.into_iter().for_each(|entry| index.insert(entry));
        index
    })
}

proptest! {
    #[test]
    fn the_metadata_of_an_xpak_is_read_as_it_was_written_and_never_more_than_there_is(
        values in btree_map("[A-Za-z_]{1,9}", vec(any::<u8>(), 0..40), 0..6), image in vec(any::<u8>(), 0..40),
        damage in damage(), anything in vec(any::<u8>(), 0..80),
    ) {
        let file = xpak(&image, &values);
        prop_assert_eq!(xpak::read_metadata(Cursor::new(&file)).unwrap(), Metadata(values));
        for bytes in [damaged(&file, &damage), [b"XPAKPACK", &anything[..], b"XPAKSTOP"].concat()] {
            let read = [xpak::read_metadata(Cursor::new(&bytes)).ok(), xpak::parse_segment(&bytes).ok()];
            for Metadata(values) in read.into_iter().flatten() {
                prop_assert!(values.values().map(Vec::len).sum::<usize>() <= bytes.len());
            }
        }
    }

    #[test]
    fn an_archive_is_read_as_it_was_written_and_never_more_than_there_is(
        written in btree_map("[a-z]{1,9}(/[a-z]{1,80}){0,2}", vec(any::<u8>(), 0..1500), 0..5), damage in damage(),
        sealed in any::<Index>(),
    ) {
        let archive = tar(&written);
        prop_assert_eq!(files(&archive), (written, true));
        let mut bytes = damaged(&archive, &damage);
        // A damaged header with a valid checksum is examined further.
        if let Some(block) = bytes.chunks_exact_mut(512).nth(sealed.index(archive.len() / 512)) {
            seal(block);
        }
        prop_assert!(files(&bytes).0.values().map(Vec::len).sum::<usize>() <= bytes.len());
    }

    #[test]
    fn an_index_is_read_as_it_was_written(mut index in index(), damage in damage(), anything in any::<String>()) {
        let bytes = index.to_bytes();
        let text = String::from_utf8(bytes.clone()).unwrap();
        prop_assert_eq!(&PackagesIndex::parse(&text).unwrap(), &index);
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&index.gz().unwrap()[..]).read_to_end(&mut unpacked).unwrap();
        prop_assert_eq!(&unpacked, &bytes);
        for entry in index.entries() {
            prop_assert_eq!(Entry::parse(&entry.to_text()), Some(entry.clone()));
        }
        for text in [&String::from_utf8_lossy(&damaged(&bytes, &damage)), &*anything] {
            let _ = (PackagesIndex::parse(text), Entry::parse(text));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_damage_to_a_package_panics(
        inner in [damage(), damage()], sealed in [prop::option::of(any::<Index>()), prop::option::of(any::<Index>())],
        outer in damage(),
    ) {
        // Damage before compression and hashing reaches the inner readers.
        let mut parts = [metadata(), image()];
        for (part, ((set, _), sealed)) in parts.iter_mut().zip(inner.into_iter().zip(sealed)) {
            *part = damaged(part, &(set, None));
            if let Some(sealed) = sealed {
                let block = sealed.index(part.len() / 512) * 512;
                seal(&mut part[block..block + 512]);
            }
        }
        let bytes = damaged(&Forge::with(&parts[0], &parts[1]).build(), &outer);
        let limits = Limits { metadata_bytes: 1 << 20, image_bytes: 1 << 20, ..Limits::default() };
        let _ = gpkg::verify(&bytes[..], &limits);
    }
}
