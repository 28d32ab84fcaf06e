//! Making an image from an archive, and verifying the archive's signature.

use super::*;
use std::{fs, os::unix::fs::symlink, process::Command};

fn root(at: &Path) {
    for dir in ["etc", "usr/bin", "var", "dev"] {
        fs::create_dir_all(at.join(dir)).unwrap();
    }
    symlink("usr/bin", at.join("bin")).unwrap();
    let head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0";
    fs::write(at.join("usr/bin/bash"), [&head[..], &[0; 1000]].concat()).unwrap();
    fs::hard_link(at.join("usr/bin/bash"), at.join("usr/bin/sh")).unwrap();
    fs::write(at.join("usr/bin/emerge"), "").unwrap();
}

fn succeeds(command: &mut Command) {
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn a_directory_and_its_archive_in_any_compression_are_the_same_image() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("root");
    root(&at);
    let want = make(&at, |_, _| ()).unwrap();
    assert!(want.summary.has_portage && want.notes.is_empty(), "{:?}", want.notes);
    for (end, how) in
        [("tar", "--no-auto-compress"), ("tar.xz", "-J"), ("tar.zst", "--zstd"), ("tar.gz", "-z")]
    {
        let archive = dir.path().join(format!("stage3.{end}"));
        succeeds(
            Command::new("tar")
                .arg(how)
                .arg("-cf")
                .arg(&archive)
                .arg("-C")
                .arg(&at)
                .args(["--sort=inode", "."]),
        );
        assert_eq!(make(&archive, |_, _| ()).unwrap().digest, want.digest, "{end}");
    }
}

#[test]
fn what_is_no_root_or_no_archive_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |path: &Path| make(path, |_, _| ()).unwrap_err().to_string();
    fs::create_dir(dir.path().join("home")).unwrap();
    assert!(refused(&dir.path().join("home")).contains("no root file system"));
    root(&dir.path().join("debian"));
    fs::remove_file(dir.path().join("debian/usr/bin/emerge")).unwrap();
    assert!(refused(&dir.path().join("debian")).contains("no /usr/bin/emerge"));
    for (name, want) in [("a.tar.xz", "cannot decompress"), ("a.iso", "neither"), ("a.tar", "cannot be read")]
    {
        fs::write(dir.path().join(name), "no archive").unwrap();
        let error = refused(&dir.path().join(name));
        assert!(error.contains(want), "{error}");
    }
}

#[test]
fn only_the_given_keys_signature_of_this_file_counts() {
    let dir = tempfile::tempdir().unwrap();
    let gpg = |home: &str, args: &[&str]| {
        let mut command = Command::new("gpg");
        command.current_dir(&dir).args(["--homedir", home, "--batch", "--passphrase", "", "--yes"]);
        succeeds(command.args(args));
    };
    for who in ["one", "two"] {
        fs::create_dir(dir.path().join(who)).unwrap();
        gpg(who, &["--quick-generate-key", who, "ed25519", "sign", "never"]);
        gpg(who, &["--armor", "--output", &format!("{who}.key"), "--export"]);
    }
    let path = |name: &str| dir.path().join(name);
    fs::write(path("stage3"), "content").unwrap();
    let error = signer(&path("stage3"), None, &path("one.key")).unwrap_err().to_string();
    assert!(error.contains("is not signed") && error.contains("stage3.asc"), "{error}");
    gpg("one", &["--armor", "--output", "stage3.asc", "--detach-sign", "stage3"]);
    assert_eq!(signer(&path("stage3"), None, &path("one.key")).unwrap().len(), 40);
    let error = signer(&path("stage3"), None, &path("two.key")).unwrap_err().to_string();
    assert!(error.contains("is not signed by the key"), "{error}");
    fs::write(path("stage3"), "changed").unwrap();
    assert!(signer(&path("stage3"), None, &path("one.key")).is_err());
}
