//! Snapshot round trips, and malicious snapshots.

use super::*;
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};
use swarm_common::digest::Digest;
use tar::{EntryType, Header};

pub(super) fn manifest() -> SnapshotManifest {
    SnapshotManifest {
        format: FORMAT,
        portage_profile: Some("example/amd64".into()),
        profile_repository: None,
        main_repository: "example".into(),
        repositories: vec![repository("example")],
        nix: None,
    }
}

fn repository(name: &str) -> SnapshotRepository {
    SnapshotRepository { name: name.into(), commit: None, settings: BTreeMap::new() }
}

/// Makes a small repository on disk and returns the paths of its files.
fn tree(root: &Path) -> Vec<String> {
    let long = format!("app-misc/{}/files/{}", "n".repeat(80), "f".repeat(90));
    for (path, text) in [("profiles/example/amd64/eapi", "8\n"), ("a/run.sh", "#!/bin/sh\n"), (&long, "long")]
    {
        let at = root.join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, text).unwrap();
    }
    fs::set_permissions(root.join("a/run.sh"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("../profiles/example", root.join("a/link")).unwrap();
    vec![long, "a/run.sh".into(), "profiles/example/amd64/eapi".into(), "a/link".into()]
}

fn contents(root: &Path, files: &[String]) -> SnapshotContents {
    let mut contents = SnapshotContents::new(manifest()).unwrap();
    for file in files {
        contents.add_from("repos/example", root, file).unwrap();
    }
    contents.add_bytes("world", b"app-misc/a\n".to_vec()).unwrap();
    contents
}

#[test]
fn what_is_packed_is_unpacked_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let files = tree(&dir.path().join("from"));
    let mut archive = Vec::new();
    let mut count = 0;
    let digest = contents(&dir.path().join("from"), &files).write(&mut archive, || count += 1).unwrap();
    assert_eq!(count, 5);
    assert_eq!(verify(archive.as_slice(), digest).unwrap(), manifest());

    let to = dir.path().join("to");
    assert_eq!(unpack(archive.as_slice(), digest, &to).unwrap(), manifest());
    assert_eq!(fs::read_to_string(to.join("world")).unwrap(), "app-misc/a\n");
    assert_eq!(fs::read_to_string(to.join("repos/example").join(&files[0])).unwrap(), "long");
    assert_eq!(fs::read_link(to.join("repos/example/a/link")).unwrap(), Path::new("../profiles/example"));
    let mode = |path: &str| fs::metadata(to.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("repos/example/a/run.sh"), 0o755);
    assert_eq!(mode("world"), 0o644);
    assert_eq!(mode("repos/example/a"), 0o755);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left beside it");
}

#[test]
fn the_same_content_has_the_same_digest_whatever_its_order_owner_or_time() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let mut files = tree(&one);
    tree(&two);
    fs::set_permissions(two.join("a/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH;
    fs::File::open(two.join("a/run.sh")).unwrap().set_modified(old).unwrap();
    let first = contents(&one, &files).write(std::io::sink(), || ()).unwrap();
    files.reverse();
    assert_eq!(contents(&two, &files).write(std::io::sink(), || ()).unwrap(), first);
    fs::write(two.join("a/run.sh"), "#!/bin/bash\n").unwrap();
    assert_ne!(contents(&two, &files).write(std::io::sink(), || ()).unwrap(), first);
}

#[test]
fn a_link_out_of_its_repository_and_a_socket_are_not_packed() {
    let dir = tempfile::tempdir().unwrap();
    symlink("../../etc/passwd", dir.path().join("out")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    let mut contents = SnapshotContents::new(manifest()).unwrap();
    for bad in ["out", "socket", "missing"] {
        assert!(contents.add_from("repos/example", dir.path(), bad).is_err(), "{bad}");
    }
    assert!(contents.is_empty());
}

/// One entry of a handmade tar: type, path, target and content. The path is written unchanged, bypassing the
/// checks of the tar crate.
pub(super) struct Raw<'a>(pub(super) EntryType, pub(super) &'a str, pub(super) &'a str, pub(super) &'a [u8]);

/// An archive of these entries, whose paths are written unchanged.
pub(super) fn raw<'a>(entries: impl IntoIterator<Item = &'a Raw<'a>>) -> Vec<u8> {
    let mut tar = Vec::new();
    for Raw(kind, path, target, bytes) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..path.len()].copy_from_slice(path.as_bytes());
        gnu.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        tar.extend_from_slice(header.as_bytes());
        tar.extend_from_slice(bytes);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

fn hostile(entries: &[Raw<'_>]) -> (Vec<u8>, Digest) {
    let manifest = serde_json::to_vec(&manifest()).unwrap();
    let sound = [
        Raw(EntryType::Regular, MANIFEST, "", &manifest),
        Raw(EntryType::Regular, "repos/example/profiles/example/amd64/eapi", "", b"8"),
    ];
    let tar = raw(sound.iter().chain(entries));
    (zstd::encode_all(tar.as_slice(), 1).unwrap(), Digest::of(&tar))
}

// fault: 29
#[test]
fn an_archive_made_to_do_harm_is_refused_and_leaves_nothing() {
    use EntryType::{Block, Char, Directory, Fifo, GNULongName, GNUSparse, Link, Regular, Symlink, XHeader};
    let long = vec![b'a'; 5000];
    let cases: Vec<(&str, Vec<Raw<'_>>)> = vec![
        ("traversal", vec![Raw(Regular, "../evil", "", b"x")]),
        ("traversal inside", vec![Raw(Regular, "a/../../evil", "", b"x")]),
        ("absolute", vec![Raw(Regular, "/tmp/evil", "", b"x")]),
        ("link out", vec![Raw(Symlink, "l", "../..", b"")]),
        ("absolute link", vec![Raw(Symlink, "l", "/etc", b"")]),
        ("through a link", vec![Raw(Symlink, "l", "repos", b""), Raw(Regular, "l/evil", "", b"x")]),
        ("link over a directory", vec![Raw(Regular, "l/x", "", b"x"), Raw(Symlink, "l", "repos", b"")]),
        ("below a file", vec![Raw(Regular, "f", "", b"x"), Raw(Regular, "f/g", "", b"x")]),
        ("twice", vec![Raw(Regular, "f", "", b"x"), Raw(Regular, "f", "", b"y")]),
        ("hard link", vec![Raw(Link, "h", "world", b"")]),
        ("character device", vec![Raw(Char, "c", "", b"")]),
        ("block device", vec![Raw(Block, "b", "", b"")]),
        ("pipe", vec![Raw(Fifo, "p", "", b"")]),
        ("directory", vec![Raw(Directory, "d", "", b"")]),
        ("sparse", vec![Raw(GNUSparse, "s", "", b"")]),
        (
            "pax header",
            vec![Raw(XHeader, "x", "", b"25 path=../../../../evil\n"), Raw(Regular, "n", "", b"x")],
        ),
        ("endless name", vec![Raw(GNULongName, "././@LongLink", "", &long), Raw(Regular, "n", "", b"x")]),
        (
            "long traversal",
            vec![Raw(GNULongName, "././@LongLink", "", b"../evil\0"), Raw(Regular, "n", "", b"x")],
        ),
        ("second manifest", vec![Raw(Regular, MANIFEST, "", b"{}")]),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (what, entries) in cases {
        let (archive, digest) = hostile(&entries);
        let error = unpack(archive.as_slice(), digest, &dir.path().join("to")).unwrap_err();
        assert!(matches!(error, SnapshotError::Entry { .. }), "{what}: {error}");
        assert!(verify(archive.as_slice(), digest).is_err(), "{what}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{what}");
    }
    let (archive, digest) = hostile(&[]);
    assert!(unpack(archive.as_slice(), digest, &dir.path().join("to")).is_ok(), "the rest is sound");
}

#[test]
fn paths_that_would_fill_the_memory_are_refused() {
    // Each path has five hundred directories of its own, which take 250 KB.
    let names: Vec<String> = (0..280).map(|n| format!("{n:04}{}", "/a".repeat(500))).collect();
    let name = |n: &String| [n.as_bytes(), b"\0"].concat();
    let long: Vec<Vec<u8>> = names.iter().map(name).collect();
    let entries: Vec<Raw<'_>> = long
        .iter()
        .flat_map(|name| {
            [Raw(EntryType::GNULongName, "././@LongLink", "", name), Raw(EntryType::Regular, "n", "", b"")]
        })
        .collect();
    let (archive, digest) = hostile(&entries);
    let error = verify(archive.as_slice(), digest).unwrap_err();
    assert!(matches!(error, SnapshotError::TooLarge { what: "bytes of paths", .. }), "{error}");
    let (archive, digest) = hostile(&entries[..20]);
    verify(archive.as_slice(), digest).unwrap();
}

#[test]
fn other_content_and_a_cut_off_archive_are_refused() {
    let (archive, digest) = hostile(&[Raw(EntryType::Regular, "f", "", &[7; 4000])]);
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("to");
    let error = unpack(archive.as_slice(), Digest::of(b"other"), &to).unwrap_err();
    assert!(matches!(error, SnapshotError::WrongDigest { .. }), "{error}");
    for length in 0..archive.len() {
        assert!(unpack(&archive[..length], digest, &to).is_err(), "{length}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_manifest_that_fits_nothing_is_refused() {
    let good = manifest();
    let with = |key: &str, value: &str| {
        let mut manifest = good.clone();
        manifest.repositories[0].settings.insert(key.into(), value.into());
        manifest
    };
    for manifest in [good.clone(), with("priority", "-50"), with("masters", "example other")] {
        manifest.check().unwrap();
    }
    for bad in [
        SnapshotManifest { format: 2, ..good.clone() },
        SnapshotManifest { main_repository: "other".into(), ..good.clone() },
        SnapshotManifest { portage_profile: Some("../../etc".into()), ..good.clone() },
        SnapshotManifest { profile_repository: Some("other".into()), ..good.clone() },
        with("location", "/"),
        with("priority", "high"),
        with("masters", "example\n[evil]"),
        SnapshotManifest { repositories: vec![good.repositories[0].clone(); 2], ..good.clone() },
        SnapshotManifest { repositories: vec![repository("a/b")], main_repository: "a/b".into(), ..good },
    ] {
        assert!(bad.check().is_err(), "{bad:?}");
    }
}

#[test]
fn what_an_older_version_packed_is_read_and_named_as_before() {
    let old = concat!(
        r#"{"format":1,"portage_profile":"example/amd64","main_repository":"example","#,
        r#""repositories":[{"name":"example","commit":null}]}"#
    );
    let read: SnapshotManifest = serde_json::from_str(old).unwrap();
    assert_eq!(read, manifest());
    // The serialised form is unchanged, so the same content keeps its digest.
    assert_eq!(serde_json::to_string(&read).unwrap(), old);
}

#[test]
fn the_profile_may_be_of_any_repository_or_the_bundles_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = tree(&dir.path().join("from"));
    let of = |manifest, files: &[String], own: bool| {
        let mut contents = SnapshotContents::new(manifest).unwrap();
        for file in files {
            contents.add_from("repos/second", &dir.path().join("from"), file).unwrap();
        }
        if own {
            contents.add_bytes("etc/portage/make.profile/eapi", b"8".to_vec()).unwrap();
        }
        let mut archive = Vec::new();
        let digest = contents.write(&mut archive, || ()).unwrap();
        verify(archive.as_slice(), digest)
    };
    let two =
        SnapshotManifest { repositories: vec![repository("example"), repository("second")], ..manifest() };
    let second = SnapshotManifest { profile_repository: Some("second".into()), ..two.clone() };
    let own = SnapshotManifest { portage_profile: None, ..two.clone() };
    assert_eq!(of(second.clone(), &files, false).unwrap(), second);
    assert_eq!(of(own.clone(), &files, true).unwrap(), own);
    assert!(of(own, &files, false).is_err(), "there is none of its own");
    assert!(of(two, &files, false).is_err(), "the main repository has none");
    files.retain(|file| !file.starts_with("profiles/"));
    assert!(of(second, &files, false).is_err());
}
