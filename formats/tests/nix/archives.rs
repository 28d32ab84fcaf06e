//! Compares archives with those that the real Nix writes and reads.

use crate::lab::{Lab, fed};
use proptest::prelude::*;
use std::{
    cell::Cell,
    ffi::OsStr,
    fs,
    io::Read as _,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
    },
    path::Path,
};
use swarm_common::digest::Digest;
use swarm_formats::nix::{
    hash,
    nar::{NarError, NarEvent, NarKind, NarLimits, NarReader, NarSum, NarWriter, dump},
};

/// A tree with everything that an archive can represent.
fn plant(root: &Path) {
    fs::create_dir_all(root.join("d/e/f")).unwrap();
    for size in 0..18 {
        fs::write(root.join(format!("file{size}")), vec![b'x'; size]).unwrap();
    }
    fs::write(root.join("large"), vec![7; 200_000]).unwrap();
    for name in
        [&b"a"[..], b"a-b", b"a.b", b"a0", b"B", b".hidden", b"\xff\xfe", "ä ö".as_bytes(), b"new\nline"]
    {
        fs::write(root.join("d").join(OsStr::from_bytes(name)), name).unwrap();
    }
    fs::write(root.join("d/run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("d/run"), fs::Permissions::from_mode(0o755)).unwrap();
    for (name, target) in
        [("up", "../../.."), ("absolute", "/etc/passwd"), ("circle", "circle"), ("gone", "x y")]
    {
        symlink(target, root.join("d/e").join(name)).unwrap();
    }
}

/// Reads an archive and writes what was read to another.
fn copied(nar: &[u8]) -> Result<(Vec<u8>, NarSum), NarError> {
    let mut reader = NarReader::new(nar, NarLimits::default());
    let mut writer = NarWriter::new(Vec::new());
    while let Some(event) = reader.next_event()? {
        match event {
            NarEvent::Leave => writer.leave()?,
            NarEvent::Node { name, kind: NarKind::Directory } => writer.directory(&name)?,
            NarEvent::Node { name, kind: NarKind::Symlink { target } } => writer.symlink(&name, &target)?,
            NarEvent::Node { name, kind: NarKind::File { executable, size, offset } } => {
                let mut contents = Vec::new();
                reader.read_to_end(&mut contents)?;
                let at = usize::try_from(offset).unwrap();
                assert!(nar[at..].starts_with(&contents), "the offset is not that of the contents");
                writer.file(&name, executable, size, contents.as_slice())?;
            }
        }
    }
    let sum = reader.finish()?.sum;
    let (copy, written) = writer.finish()?;
    assert_eq!(sum, written);
    Ok((copy, sum))
}

#[test]
fn a_tree_is_packed_byte_for_byte_as_nix_packs_it() {
    let lab = Lab::new();
    plant(&lab.path("tree"));
    for root in ["tree", "tree/file5", "tree/d/run", "tree/d/e/up", "tree/d/e/f"] {
        let root = lab.path(root);
        let theirs = lab.run("nix-store", [OsStr::new("--dump"), root.as_os_str()]);
        let (ours, sum) = dump(&root, Vec::new()).unwrap();
        assert!(ours == theirs, "{} is packed in another way", root.display());
        assert_eq!(sum, NarSum { hash: Digest::of(&theirs), size: theirs.len() as u64 });
        let output = lab.run("nix-hash", ["--type", "sha256", "--base32", root.to_str().unwrap()]);
        assert_eq!(hash::to_text(&sum.hash), format!("sha256:{}", String::from_utf8(output).unwrap().trim()));
    }
}

#[test]
fn nix_unpacks_what_we_write_of_what_we_read() {
    let lab = Lab::new();
    plant(&lab.path("tree"));
    let nar = lab.run("nix-store", [OsStr::new("--dump"), lab.path("tree").as_os_str()]);
    let (copy, _) = copied(&nar).unwrap();
    assert!(copy == nar, "what was read is written in another way");
    lab.feed("nix-store", [OsStr::new("--restore"), lab.path("copy").as_os_str()], &copy);
    let again = lab.run("nix-store", [OsStr::new("--dump"), lab.path("copy").as_os_str()]);
    assert!(again == nar, "nix unpacked another tree");
}

#[test]
fn unread_contents_are_skipped_and_nothing_is_told_after_the_end() {
    let lab = Lab::new();
    plant(&lab.path("tree"));
    let (nar, sum) = dump(&lab.path("tree"), Vec::new()).unwrap();
    let mut reader = NarReader::new(nar.as_slice(), NarLimits::default());
    let mut events = 0;
    while reader.next_event().unwrap().is_some() {
        // Read one byte of each file, so that some contents are left unread.
        let _ = reader.read(&mut [0]).unwrap();
        events += 1;
    }
    assert_eq!(reader.next_event().unwrap(), None);
    // These are the nodes, and the ends of the 4 directories.
    assert_eq!(events, 4 + 18 + 1 + 9 + 1 + 4 + 4);
    assert_eq!(reader.finish().unwrap().sum, sum);
}

#[test]
fn what_no_archive_can_hold_is_not_packed() {
    let lab = Lab::new();
    fs::create_dir(lab.path("tree")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(lab.path("tree/socket")).unwrap();
    let error = dump(&lab.path("tree"), Vec::new()).unwrap_err().to_string();
    assert!(error.contains("tree/socket`: not a file, link or directory"), "{error}");
}

/// A change to an archive. Positions are counted in words of eight bytes, to which its strings are aligned.
#[derive(Debug, Clone)]
enum Change {
    Set { word: usize, byte: usize, value: u8 },
    Remove { word: usize, words: usize },
    Repeat { word: usize, words: usize },
    Swap { word: usize, words: usize },
    Cut { bytes: usize },
}

fn change() -> impl Strategy<Value = Change> {
    let (word, words) = (0usize..1000, 1usize..20);
    prop_oneof![
        4 => (word.clone(), 0usize..8, any::<u8>()).prop_map(|(word, byte, value)| Change::Set { word, byte, value }),
        1 => (word.clone(), words.clone()).prop_map(|(word, words)| Change::Remove { word, words }),
        1 => (word.clone(), words.clone()).prop_map(|(word, words)| Change::Repeat { word, words }),
        1 => (word, words).prop_map(|(word, words)| Change::Swap { word, words }),
        1 => (0usize..64).prop_map(|bytes| Change::Cut { bytes }),
    ]
}

fn changed(nar: &[u8], change: &Change) -> Vec<u8> {
    let mut words: Vec<Vec<u8>> = nar.chunks(8).map(<[u8]>::to_vec).collect();
    let all = words.len();
    let range = |word: usize, count: usize| word % all..(word % all + count).min(all);
    match *change {
        Change::Set { word, byte, value } => words[word % all][byte] = value,
        Change::Remove { word, words: count } => drop(words.drain(range(word, count))),
        Change::Repeat { word, words: count } => {
            let repeated = words[range(word, count)].to_vec();
            words.splice(word % all..word % all, repeated);
        }
        Change::Swap { word, words: count } => words[range(word, count)].reverse(),
        Change::Cut { bytes } => words.truncate(all.saturating_sub(bytes / 8 + 1)),
    }
    words.concat()
}

/// Whether Nix unpacks an archive to a tree from which it makes the same archive.
fn nix_reads(lab: &Lab, nar: &[u8]) -> bool {
    let target = lab.path("unpacked");
    // Nix 2.8 trusts the length of a string and allocates as much memory.
    let limited = "ulimit -v 2000000; exec nix-store --restore \"$0\"";
    let restored = fed(lab.command("sh").args(["-c", limited]).arg(&target), nar);
    let same =
        restored.status.success() && lab.run("nix-store", [OsStr::new("--dump"), target.as_os_str()]) == nar;
    match fs::symlink_metadata(&target) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(&target).unwrap(),
        Ok(_) => fs::remove_file(&target).unwrap(),
        Err(_) => {}
    }
    same
}

#[test]
fn an_archive_is_read_exactly_if_nix_unpacks_it_and_packs_the_same_again() {
    let lab = Lab::new();
    let tree = lab.path("tree");
    fs::create_dir_all(tree.join("d/empty")).unwrap();
    for (name, contents) in [("a", "1"), ("b", ""), ("d/x", &"contents".repeat(100))] {
        fs::write(tree.join(name), contents).unwrap();
    }
    fs::set_permissions(tree.join("b"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("d/x", tree.join("link")).unwrap();
    let (nar, _) = dump(&tree, Vec::new()).unwrap();
    let (read, refused) = (Cell::new(0), Cell::new(0));
    let config = ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = prop::test_runner::TestRunner::new(config);
    let outcome = runner.run(&change(), |change| {
        let nar = changed(&nar, &change);
        let ours = copied(&nar);
        let count = if ours.is_ok() { &read } else { &refused };
        count.set(count.get() + 1);
        prop_assert_eq!(ours.is_ok(), nix_reads(&lab, &nar), "{:?}", ours.err());
        Ok(())
    });
    outcome.unwrap();
    let (read, refused) = (read.get(), refused.get());
    assert!(read > 5 && refused > 20, "{read} read, {refused} refused: the changes try nothing");
}
