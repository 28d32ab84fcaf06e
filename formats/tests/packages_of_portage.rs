//! Compares the readers and the index writer with files written by the real Portage (`data/README.md`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use flate2::read::GzDecoder;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};
use swarm_formats::{
    archive::digests::FileHasher,
    portage::{
        gpkg::{self, Limits},
        packages_index::{Entry, IndexError, PackagesIndex, PublishedFile},
        xpak,
    },
};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/binhost").join(name)
}

/// Portage's index, without the key that Portage itself drops at the next rewrite.
fn portage_index() -> String {
    let text = fs::read_to_string(data("Packages")).unwrap();
    text.lines().filter(|line| !line.starts_with("REPO_REVISIONS")).map(|line| format!("{line}\n")).collect()
}

/// Our entries for the package files, with times and paths from Portage's index.
fn our_entries(theirs: &PackagesIndex) -> Vec<Entry> {
    let entries = theirs.entries().map(|entry| {
        let file = data(Path::new(entry.path()).file_name().unwrap().to_str().unwrap());
        let mtime = entry.get("_mtime_").parse().unwrap();
        let (metadata, digests) = if entry.path().ends_with(".xpak") {
            let digests = FileHasher::read_all(File::open(&file).unwrap()).unwrap();
            (xpak::read_metadata(File::open(&file).unwrap()).unwrap(), digests)
        } else {
            let gpkg = gpkg::verify(File::open(&file).unwrap(), &Limits::default()).unwrap();
            (gpkg.metadata, gpkg.digests)
        };
        Entry::new(&metadata, &PublishedFile { path: entry.path().to_owned(), digests, mtime }).unwrap()
    });
    entries.collect()
}

#[test]
fn our_index_of_the_same_packages_is_byte_identical() {
    let theirs = PackagesIndex::parse(&portage_index()).unwrap();
    assert_eq!(theirs.len(), 6);
    let mut ours = PackagesIndex::new(theirs.header());
    ours.set_timestamp(theirs.timestamp());
    // The order of insertion must not matter.
    for entry in our_entries(&theirs).into_iter().rev() {
        ours.insert(entry);
    }
    assert_eq!(String::from_utf8(ours.to_bytes()).unwrap(), portage_index());
}

/// Checks that the compressed index equals both the plain one and one built from scratch from the same
/// packages.
#[track_caller]
fn assert_not_stale(index: &mut PackagesIndex) {
    let mut text = String::new();
    GzDecoder::new(&index.gz().unwrap()[..]).read_to_string(&mut text).unwrap();
    assert_eq!(text.as_bytes(), index.to_bytes());
    let mut anew = PackagesIndex::new(index.header());
    anew.set_timestamp(index.timestamp());
    index.entries().for_each(|entry| anew.insert(entry.clone()));
    assert_eq!(text.as_bytes(), anew.to_bytes());
    assert_eq!(&anew, index);
}

#[test]
fn what_is_kept_compressed_is_never_stale() {
    let theirs = PackagesIndex::parse(&portage_index()).unwrap();
    let model = theirs.entries().next().unwrap();
    // Unordered names, so that packages are added and removed everywhere.
    let path = |n: u64| format!("dev-libs/x/{:05}.gpkg.tar", n * 7919 % 10_007);
    let mut index = PackagesIndex::new(theirs.header());
    let mut state = 1_u64;
    for step in 0..3000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let entry = model.moved(&path((state >> 33) % 1500), 1_700_000_000 + (state >> 60));
        match state >> 62 {
            0 => _ = index.remove(&entry),
            _ => index.insert(entry.clone()),
        }
        assert_eq!(index.contains(&entry), state >> 62 != 0);
        if step % 197 == 0 {
            index.set_timestamp(step);
            assert_not_stale(&mut index);
        }
    }
    assert!(index.len() > 500, "{}", index.len());
    assert_eq!(index.entries().count(), index.len());
    index.set_header(BTreeMap::from([("CHOST".to_owned(), "other".to_owned())]));
    assert_not_stale(&mut index);
    let all: Vec<Entry> = index.entries().cloned().collect();
    assert!(all.iter().all(|entry| index.remove(entry)) && index.is_empty());
    assert_not_stale(&mut index);
}

#[test]
fn an_index_that_is_read_and_written_stays_the_same() {
    let index = PackagesIndex::parse(&portage_index()).unwrap();
    assert_eq!(String::from_utf8(index.to_bytes()).unwrap(), portage_index());
}

#[test]
fn a_package_can_be_taken_out_and_put_back() {
    let mut index = PackagesIndex::parse(&portage_index()).unwrap();
    let before = index.to_bytes();
    let entry = index.entries().nth(2).unwrap().clone();
    assert!(index.contains(&entry) && index.remove(&entry) && !index.remove(&entry));
    assert!(!index.contains(&entry));
    assert!(String::from_utf8(index.to_bytes()).unwrap().contains("PACKAGES: 5\n"));
    index.insert(entry);
    assert_eq!(index.to_bytes(), before);
}

#[test]
fn another_chost_in_the_header_appears_in_every_block() {
    let mut index = PackagesIndex::parse(&portage_index()).unwrap();
    let mut header = index.header();
    header.insert("CHOST".to_owned(), "riscv64-unknown-linux-gnu".to_owned());
    index.set_header(header);
    let text = String::from_utf8(index.to_bytes()).unwrap();
    assert_eq!(text.matches("\nCHOST: x86_64-pc-linux-gnu\n").count(), 6);
    assert_eq!(PackagesIndex::parse(&text).unwrap(), index);
}

#[test]
fn damaged_indexes_are_refused() {
    let good = portage_index();
    let cases = [
        (good.replace("VERSION: 0", "VERSION: 1"), "version"),
        (good.replace("PACKAGES: 6", "PACKAGES: 7"), "incomplete"),
        (good.replace("CPV: app-misc/cairn-3\n", ""), "no CPV"),
        (good.replace("EAPI: 8", "EAPI 8"), "not `KEY: value`"),
        (good[..good.len() / 2].to_owned(), ""),
        (String::new(), "version"),
    ];
    for (text, needle) in cases {
        let error: IndexError = PackagesIndex::parse(&text).unwrap_err();
        assert!(error.to_string().contains(needle), "{error}");
    }
}

#[test]
fn a_header_cannot_smuggle_lines() {
    let header = BTreeMap::from([
        ("ARCH".to_owned(), "amd64\n\nCPV: evil/evil-1".to_owned()),
        ("A: b\nCPV".to_owned(), "x".to_owned()),
    ]);
    let text = String::from_utf8(PackagesIndex::new(header).to_bytes()).unwrap();
    assert_eq!(text, "ARCH: amd64 CPV: evil/evil-1\nPACKAGES: 0\nVERSION: 0\n\n");
}

#[test]
fn a_gpkg_tells_what_it_is() {
    let file = File::open(data("pebble-1.2-2.gpkg.tar")).unwrap();
    let gpkg = gpkg::verify(file, &Limits::default()).unwrap();
    assert_eq!(gpkg.directory, "pebble-1.2-2");
    assert!(!gpkg.signed);
    assert_eq!(gpkg.metadata.line("SLOT"), "0/12");
    assert_eq!(gpkg.metadata.line("BUILD_ID"), "2");
    assert_eq!(gpkg.metadata.line("USE"), "amd64 elibc_glibc kernel_linux");
    assert_eq!(gpkg.digests.size, 10240);
    let names: Vec<_> = gpkg.members.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["gpkg-1", "metadata.tar.zst", "image.tar.zst"]);
    assert!(gpkg.image.entries >= 6);
}

#[test]
fn an_xpak_tells_what_it_is_and_damage_never_panics() {
    let bytes = fs::read(data("marker-0.5_rc1-r2-2.xpak")).unwrap();
    let metadata = xpak::read_metadata(std::io::Cursor::new(&bytes)).unwrap();
    assert_eq!(metadata.line("PF"), "marker-0.5_rc1-r2");
    assert_eq!(metadata.line("SLOT"), "2");
    for cut in 0..bytes.len() {
        // A cut at the front removes only image data. A cut at the end removes the trailer.
        assert!(xpak::read_metadata(std::io::Cursor::new(&bytes[..cut])).is_err(), "{cut}");
    }
    for at in 0..bytes.len() {
        for bit in [0x01, 0x80] {
            let mut damaged = bytes.clone();
            damaged[at] ^= bit;
            // There are no digests, so damage can go unnoticed. It must only not cause a panic.
            let _ = xpak::read_metadata(std::io::Cursor::new(&damaged));
        }
    }
    assert!(xpak::read_metadata(std::io::Cursor::new(b"XPAKSTOP\xff\xff\xff\xffSTOP")).is_err());
}

#[test]
fn an_entry_survives_being_kept_on_its_own() {
    let index = PackagesIndex::parse(&portage_index()).unwrap();
    for entry in index.entries() {
        let text = entry.to_text();
        assert_eq!(Entry::parse(&text).as_ref(), Some(entry));
        assert_eq!(Entry::parse(&text[..text.len() - 1]), None);
        assert_eq!(Entry::parse(&text.replace("CPV", "XPV")), None);
    }
}
