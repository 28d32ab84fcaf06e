//! Snapshots built from older ones, and malicious differences.

use super::super::{
    LAYER, OWN, SnapshotContents,
    tests::{self, manifest},
    unpack, unpack_difference,
};
use super::*;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

/// Content by path: the text of a file, prefixed by `+` if it is executable, or `@` and the target of a link.
type Tree = BTreeMap<String, String>;

fn tree(entries: &[(&str, &str)]) -> Tree {
    let profile = ("repos/example/profiles/example/amd64/eapi", "8");
    entries.iter().chain([&profile]).map(|&(path, what)| (path.to_owned(), what.to_owned())).collect()
}

/// Packs a tree as `dir/name`.
fn pack(dir: &Path, name: &str, tree: &Tree) -> (PathBuf, Digest) {
    let from = dir.join(format!("{name}.from"));
    let mut contents = SnapshotContents::new(manifest()).unwrap();
    for (path, what) in tree {
        let at = from.join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        match what.strip_prefix('@') {
            Some(target) => symlink(target, &at).unwrap(),
            None => fs::write(&at, what.trim_start_matches('+')).unwrap(),
        }
        if what.starts_with('+') {
            fs::set_permissions(&at, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let (top, rest) = path.split_once('/').unwrap();
        contents.add_from(top, &from.join(top), rest).unwrap();
    }
    let at = dir.join(name);
    (at.clone(), contents.write(fs::File::create(at).unwrap(), || ()).unwrap())
}

/// Writes the difference of two packed snapshots to `dir/name`.
fn differ(dir: &Path, name: &str, old: &Path, new: &Path) -> PathBuf {
    let open = |path: &Path| fs::File::open(path).unwrap();
    let at = dir.join(name);
    difference(open(old), [open(new), open(new)], fs::File::create(&at).unwrap()).unwrap();
    at
}

/// What overlayfs shows for `layers`, the lowest first. The path of a directory ends in `/`.
fn shown(layers: &[PathBuf]) -> Tree {
    let mut all = Tree::new();
    for layer in layers {
        lay(layer, "", &mut all);
    }
    all
}

fn lay(dir: &Path, below: &str, all: &mut Tree) {
    for entry in fs::read_dir(dir).unwrap() {
        let at = entry.unwrap().path();
        let path = format!("{below}{}", at.file_name().unwrap().to_str().unwrap());
        let found = fs::symlink_metadata(&at).unwrap();
        let inside = format!("{path}/");
        if found.is_dir() {
            all.remove(&path);
            all.insert(inside.clone(), String::new());
            lay(&at, &inside, all);
            continue;
        }
        all.retain(|other, _| *other != path && !other.starts_with(&inside));
        if found.is_symlink() {
            all.insert(path, format!("@{}", fs::read_link(&at).unwrap().display()));
        } else if found.is_file() {
            let mark = if found.permissions().mode() & 0o7777 == 0o755 { "+" } else { "" };
            all.insert(path, format!("{mark}{}", fs::read_to_string(&at).unwrap()));
        } else {
            assert!(found.file_type().is_char_device(), "{}", at.display());
        }
    }
}

#[test]
fn a_snapshot_made_of_an_older_one_and_differences_is_the_one_that_was_packed() {
    let (long, other) = (format!("repos/{}/{}", "n".repeat(90), "f".repeat(90)), "o".repeat(3000));
    let nights: [Tree; 6] = [
        tree(&[
            ("repos/a/x", "1"),
            ("repos/a/y", "1"),
            ("repos/a-b/x", "1"),
            ("repos/gone/deep/x", "1"),
            ("repos/to-dir", "1"),
            ("repos/to-file/x", "1"),
            ("repos/link-to-dir", "@a"),
            ("repos/dir-to-link/x", "1"),
            ("repos/run", "+1"),
            (&long, "1"),
            ("etc/portage/make.conf", "1"),
            ("etc/portage/gone", "1"),
            ("distfiles/source", &other),
        ]),
        tree(&[
            ("repos/a/x", "2"),
            ("repos/a/new", "2"),
            ("repos/a-b/x", "1"),
            ("repos/to-dir/x", "2"),
            ("repos/to-file", "2"),
            ("repos/link-to-dir/x", "2"),
            ("repos/dir-to-link", "@a"),
            ("repos/run", "1"),
            (&long, "2"),
            ("etc/portage/make.conf", "1"),
            ("distfiles/source", &other),
        ]),
        // A removed directory returns without its old content.
        tree(&[
            ("repos/gone/deep/z", "3"),
            ("repos/a/y", "3"),
            ("repos/to-dir", "3"),
            ("etc/portage/make.conf", "3"),
        ]),
        tree(&[
            ("repos/gone/deep/z", "3"),
            ("repos/a/y", "3"),
            ("repos/to-dir", "3"),
            ("etc/portage/make.conf", "3"),
        ]),
        tree(&[]),
        tree(&[("repos/a/x", "1"), ("repos/gone/deep/x", "1")]),
    ];
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path();
    let (first, digest) = pack(dir, "0", &nights[0]);
    unpack(fs::File::open(&first).unwrap(), digest, &dir.join("0.files")).unwrap();
    let (mut archives, mut layers, mut last) = (vec![first.clone()], vec![dir.join("0.files")], first);
    for (number, night) in nights.iter().enumerate().skip(1) {
        let (packed, digest) = pack(dir, &number.to_string(), night);
        archives.push(differ(dir, &format!("{number}.difference"), &last, &packed));
        let to = dir.join(format!("{number}.to"));
        fs::create_dir(&to).unwrap();
        unpack_difference(&archives, digest, &to).unwrap();
        layers.push(to.join(LAYER));

        let whole = dir.join(format!("{number}.whole"));
        unpack(fs::File::open(&packed).unwrap(), digest, &whole).unwrap();
        assert_eq!(shown(&layers), shown(std::slice::from_ref(&whole)), "night {number}");
        let mut own = shown(&[whole]);
        own.retain(|path, _| path == MANIFEST || path.starts_with("etc/"));
        assert_eq!(shown(&[to.join(OWN)]), own, "night {number}");
        last = packed;
    }
    let same = fs::read_dir(layers[3].join("repos")).map_or(0, Iterator::count);
    assert_eq!(same, 0, "nothing differed in the third night");
}

/// The type, path, target and content of an entry.
type Raw<'a> = (u8, &'a str, &'a str, &'a [u8]);

fn raw(entries: &[Raw<'_>]) -> Vec<u8> {
    let entries = entries.iter().map(|&(kind, path, target, bytes)| {
        let kind = EntryType::new(kind);
        tests::Raw(kind, path, target, bytes)
    });
    let entries: Vec<_> = entries.collect();
    zstd::encode_all(tests::raw(&entries).as_slice(), 1).unwrap()
}

/// The digest of the merged archives. If they cannot be merged, the digest of nothing.
fn merged(archives: &[PathBuf]) -> Digest {
    let open = |path: &PathBuf| zstd::Decoder::new(fs::File::open(path).unwrap()).unwrap();
    let mut tar = Vec::new();
    if let Ok(mut merged) = Merged::new(archives.iter().map(open).collect()) {
        let _ = merged.read_to_end(&mut tar);
    }
    Digest::of(&tar)
}

// fault: 48
#[test]
fn a_difference_made_to_do_harm_is_refused_and_touches_nothing_outside() {
    let long = vec![b'a'; 5000];
    let cases: &[(&str, &[Raw<'_>])] = &[
        ("outside", &[(b'0', "../evil", "", b"x")]),
        ("absolute", &[(b'0', "/tmp/evil", "", b"x")]),
        ("a link outside", &[(b'2', "repos/l", "../..", b"")]),
        ("through a link of the older one", &[(b'0', "repos/link/evil", "", b"x")]),
        ("below a file of the older one", &[(b'0', "repos/file/evil", "", b"x")]),
        ("a file over a directory of the older one", &[(b'0', "repos/dir", "", b"x")]),
        ("a mark outside", &[(b'R', "../evil", "", b"")]),
        ("a mark with a content", &[(b'R', "repos/file", "", b"x")]),
        ("a mark for the manifest", &[(b'R', MANIFEST, "", b"")]),
        ("without the profile", &[(b'R', "repos/example/profiles/example/amd64/eapi", "", b"")]),
        ("twice", &[(b'0', "repos/f", "", b"x"), (b'0', "repos/f", "", b"y")]),
        ("gone and there", &[(b'0', "repos/f", "", b"x"), (b'R', "repos/f", "", b"")]),
        ("out of order", &[(b'0', "repos/g", "", b"x"), (b'0', "repos/f", "", b"y")]),
        ("a device", &[(b'3', "repos/f", "", b"")]),
        ("a hard link", &[(b'1', "repos/f", "repos/file", b"")]),
        ("a directory", &[(b'5', "repos/f", "", b"")]),
        ("another manifest", &[(b'0', MANIFEST, "", b"{}")]),
        ("an endless name", &[(b'L', "././@LongLink", "", &long), (b'0', "n", "", b"x")]),
        ("a long way out", &[(b'L', "././@LongLink", "", b"../evil\0"), (b'0', "n", "", b"x")]),
    ];
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path();
    let (first, _) =
        pack(dir, "0", &tree(&[("repos/dir/x", "1"), ("repos/file", "1"), ("repos/link", "@dir")]));
    let at = dir.join("difference");
    let archives = [first, at.clone()];
    let before = fs::read_dir(dir).unwrap().count();
    for (what, entries) in cases {
        fs::write(&at, raw(entries)).unwrap();
        let to = dir.join("to");
        fs::create_dir(&to).unwrap();
        // Expect the digest of the merged result, so that only the content is wrong.
        unpack_difference(&archives, merged(&archives), &to).expect_err(what);
        fs::remove_dir_all(&to).unwrap();
        assert_eq!(fs::read_dir(dir).unwrap().count(), before + 1, "{what}");
    }
    fs::write(&at, raw(&[(b'0', "repos/f", "", b"x"), (b'R', "repos/file", "", b"")])).unwrap();
    fs::create_dir(dir.join("to")).unwrap();
    unpack_difference(&archives, merged(&archives), &dir.join("to")).expect("the rest is sound");
}

#[test]
fn a_difference_that_is_cut_off_damaged_or_of_other_snapshots_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path();
    let (one, _) = pack(dir, "one", &tree(&[("repos/a", "1"), ("repos/b", "1")]));
    let (two, digest) = pack(dir, "two", &tree(&[("repos/a", "2")]));
    let (other, _) = pack(dir, "other", &tree(&[("repos/a", "1"), ("repos/c", "1")]));
    let sound = fs::read(differ(dir, "difference", &one, &two)).unwrap();
    let refuses = |archives: &[PathBuf], what: &str| {
        let to = dir.join("to");
        fs::create_dir(&to).unwrap();
        unpack_difference(archives, digest, &to).expect_err(what);
        fs::remove_dir_all(to).unwrap();
    };
    let at = dir.join("damaged");
    for length in 0..sound.len() {
        fs::write(&at, &sound[..length]).unwrap();
        refuses(&[one.clone(), at.clone()], "cut off");
    }
    refuses(&[other.clone(), dir.join("difference")], "of another snapshot");
    refuses(&[one.clone(), differ(dir, "wrong", &one, &other)], "to another snapshot");
    refuses(&[], "of nothing");
}
