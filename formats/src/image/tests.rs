//! What an image keeps and what it refuses.

use super::*;
use crate::archive::tar_reader::TarAttributes;
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};
use tar::{EntryType, Header};

/// The first bytes of an x86-64 program.
fn program() -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(18, 0);
    bytes.extend([62, 0]);
    bytes.extend([7; 5000]);
    bytes
}

/// A minimal tree that counts as a root file system.
fn root(at: &Path) {
    for dir in ["etc", "usr/bin", "var/tmp", "dev"] {
        fs::create_dir_all(at.join(dir)).unwrap();
    }
    symlink("usr/bin", at.join("bin")).unwrap();
    fs::write(at.join("usr/bin/bash"), program()).unwrap();
    fs::set_permissions(at.join("usr/bin/bash"), fs::Permissions::from_mode(0o4755)).unwrap();
    symlink("/bin/bash", at.join("usr/bin/sh")).unwrap();
    fs::write(at.join("usr/bin/emerge"), "#!/usr/bin/python3\n").unwrap();
    fs::hard_link(at.join("usr/bin/emerge"), at.join("usr/bin/a-first-name")).unwrap();
    let long = "d".repeat(120);
    fs::create_dir_all(at.join(&long)).unwrap();
    symlink("t".repeat(150), at.join(&long).join("link")).unwrap();
    fs::set_permissions(at.join("var/tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
}

fn pack(contents: ImageContents) -> (Digest, Vec<u8>) {
    let mut bytes = Vec::new();
    let digest = contents.write(&mut bytes, || ()).unwrap();
    (digest, bytes)
}

fn pack_dir(at: &Path) -> (Digest, Vec<u8>) {
    let mut contents = ImageContents::default();
    assert_eq!(contents.add_root(at).unwrap(), Vec::<String>::new());
    contents.check().unwrap();
    pack(contents)
}

#[test]
fn an_unpacked_image_gives_the_same_image_again() {
    let dir = tempfile::tempdir().unwrap();
    root(&dir.path().join("root"));
    let (digest, bytes) = pack_dir(&dir.path().join("root"));
    let to = dir.path().join("unpacked");
    fs::create_dir(&to).unwrap();
    let summary = unpack(&bytes[..], digest, &to).unwrap();
    assert_eq!((summary.machine.as_str(), summary.has_portage), ("x86_64", true));
    assert_eq!(summary.usr, UsrMerge::Merged);
    assert_eq!(verify(&bytes[..], digest).unwrap(), summary);
    let meta = |path: &str| fs::metadata(to.join(path)).unwrap();
    assert_eq!(meta("usr/bin/bash").mode() & 0o7777, 0o4755);
    assert_eq!(meta("var/tmp").mode() & 0o7777, 0o1777);
    assert_eq!(meta("usr/bin/emerge").ino(), meta("usr/bin/a-first-name").ino());
    assert_eq!(pack_dir(&to), (digest, bytes));
}

#[test]
fn what_could_not_be_worked_in_is_no_root_and_the_reason_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let rejects = |change: &dyn Fn(&Path), want: &str| {
        let at = tempfile::tempdir_in(&dir).unwrap();
        root(at.path());
        change(at.path());
        let mut contents = ImageContents::default();
        contents.add_root(at.path()).unwrap();
        let (digest, bytes) = pack(contents);
        let error = verify(&bytes[..], digest).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    };
    rejects(&|at| fs::remove_dir(at.join("etc")).unwrap(), "no directory /etc");
    rejects(&|at| fs::remove_file(at.join("usr/bin/bash")).unwrap(), "no shell /bin/sh");
    rejects(&|at| fs::write(at.join("usr/bin/bash"), "#!/bin/false\n").unwrap(), "not a program");
    let loops = |at: &Path| {
        fs::remove_file(at.join("usr/bin/sh")).unwrap();
        symlink("sh", at.join("usr/bin/sh")).unwrap();
    };
    rejects(&loops, "no shell /bin/sh");
}

#[test]
fn devices_are_left_out_of_dev_and_refused_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    root(dir.path());
    let pipe = |path: &str| {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, dir.path().join(path), kind, mode, 0).unwrap();
    };
    pipe("dev/initctl");
    let mut contents = ImageContents::default();
    let notes = contents.add_root(dir.path()).unwrap();
    assert!(notes.len() == 1 && notes[0].contains("dev/initctl"), "{notes:?}");
    pipe("var/tmp/pipe");
    let error = ImageContents::default().add_root(dir.path()).unwrap_err().to_string();
    assert!(error.contains("var/tmp/pipe") && error.contains("named pipe"), "{error}");
}

/// The type, path and target of an entry.
type Forged = (EntryType, &'static str, &'static str);

/// A compressed tar of these entries, as an attacker would write it, and its digest.
fn forged(entries: &[Forged]) -> (Digest, Vec<u8>) {
    let mut tar = tar::Builder::new(Vec::new());
    for (kind, path, target) in entries {
        let mut header = Header::new_ustar();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        header.set_cksum();
        tar.append(&header, std::io::empty()).unwrap();
    }
    let bytes = tar.into_inner().unwrap();
    (Digest::of(&bytes), zstd::encode_all(&bytes[..], 1).unwrap())
}

#[test]
fn an_archive_that_would_write_elsewhere_is_refused_before_it_does() {
    use EntryType::{Directory, Link, Regular, Symlink};
    let cases: &[(&[Forged], &str)] = &[
        (&[(Regular, "../out", "")], "plain path"),
        (&[(Regular, "/out", "")], "plain path"),
        (&[(Symlink, "a", "/tmp"), (Regular, "a/out", "")], "no directory"),
        (&[(Regular, "b", ""), (Regular, "a", "")], "order"),
        (&[(Regular, "a", ""), (Regular, "a", "")], "twice"),
        (&[(Link, "a", "../etc/passwd")], "hard link"),
        (&[(Symlink, "a", "/etc"), (Link, "b", "a")], "hard link"),
        (&[(EntryType::Char, "a", "")], "device"),
        (&[(Directory, "dev", ""), (EntryType::Block, "dev/sda", "")], "device"),
    ];
    for (entries, want) in cases {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("to");
        fs::create_dir(&to).unwrap();
        let (digest, bytes) = forged(entries);
        let error = unpack(&bytes[..], digest, &to).unwrap_err().to_string();
        assert!(error.contains(want), "{entries:?}: {error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_damaged_or_cut_image_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    root(dir.path());
    let (digest, bytes) = pack_dir(dir.path());
    assert!(verify(&bytes[..bytes.len() / 2], digest).is_err());
    assert!(matches!(verify(&bytes[..], Digest::of(b"")), Err(ImageError::WrongDigest { .. })));
}

#[test]
fn attributes_that_could_hide_files_are_left_out_and_capabilities_are_kept() {
    let mut contents = ImageContents::default();
    let xattr = |name: &str| (name.as_bytes().to_vec(), b"y".to_vec());
    let names = ["user.overlay.opaque", "trusted.overlay.opaque", "security.selinux", "user.pax.flags"];
    let xattrs = names.map(xattr).to_vec();
    contents.add_dir(b"etc", TarAttributes { mode: 0o755, xattrs, ..Default::default() }).unwrap();
    assert_eq!(contents.dropped_xattrs(), 3);
    let (_, bytes) = pack(contents);
    let plain = zstd::decode_all(&bytes[..]).unwrap();
    let mut tar = crate::archive::tar_reader::TarReader::new(&plain[..]);
    tar.next_entry().unwrap().unwrap();
    assert_eq!(tar.attributes().unwrap().xattrs, [xattr("user.pax.flags")]);
}
