//! What we sign, the real `gpg` verifies; keys that the real `gpg` made, we sign with.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use swarm_orchestrator::sign::{OpenPgpKey, sign_gpkg};

fn fixture() -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../formats/tests/data/binhost");
    fs::read(dir.join("pebble-1.2-1.gpkg.tar")).unwrap()
}

/// A GnuPG home of its own.
struct Gpg {
    dir: tempfile::TempDir,
}

impl Gpg {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new("gpg")
            .arg("--homedir")
            .arg(self.dir.path())
            .args(["--batch", "--no-tty", "--status-fd", "2"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("gpg is installed");
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    #[track_caller]
    fn must(&self, args: &[&str], input: &[u8]) -> Output {
        let output = self.run(args, input);
        assert!(output.status.success(), "gpg {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// Imports and trusts, as a workstation does it.
    fn trusting(key: &OpenPgpKey) -> Self {
        let gpg = Self::new();
        gpg.must(&["--import"], key.public_armored().unwrap().as_bytes());
        gpg.must(&["--import-ownertrust"], format!("{}:6:\n", key.fingerprint()).as_bytes());
        gpg.must(&["--check-trustdb"], b"");
        gpg
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        // A secret key brings an agent with it; it belongs to this home only.
        let _ =
            Command::new("gpgconf").arg("--homedir").arg(self.dir.path()).args(["--kill", "all"]).status();
    }
}

fn member(package: &[u8], name: &str) -> Vec<u8> {
    let mut archive = tar::Archive::new(package);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap().ends_with(name) {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            return bytes;
        }
    }
    panic!("no member {name}");
}

/// Every signature of a package is good for `gpg`, and none is after a change.
fn check_with(gpg: &Gpg, package: &[u8]) {
    for name in ["metadata.tar.zst", "image.tar.zst"] {
        let signature = gpg.path("sig");
        fs::write(&signature, member(package, &format!("{name}.sig"))).unwrap();
        let mut bytes = member(package, name);
        let good = gpg.must(&["--verify", signature.to_str().unwrap(), "-"], &bytes);
        let status = String::from_utf8_lossy(&good.stderr).into_owned();
        assert!(status.contains("GOODSIG") && status.contains("TRUST_ULTIMATE"), "{status}");
        bytes[40] ^= 1;
        let bad = gpg.run(&["--verify", signature.to_str().unwrap(), "-"], &bytes);
        assert!(!bad.status.success());
    }
    let manifest = member(package, "Manifest");
    let read = gpg.must(&["--decrypt"], &manifest);
    let text = String::from_utf8(read.stdout).unwrap();
    assert!(text.starts_with("DATA gpkg-1 0 BLAKE2B "), "{text}");
    assert_eq!(text.lines().count(), 5, "{text}");
    let changed = String::from_utf8(manifest).unwrap().replacen("DATA gpkg-1 0", "DATA gpkg-1 1", 1);
    assert!(!gpg.run(&["--decrypt"], changed.as_bytes()).status.success());
}

#[test]
fn gpg_verifies_what_our_own_key_signed() {
    let key = OpenPgpKey::generate("Build Swarm <swarm@example.org>").unwrap();
    let signed = sign_gpkg(Some(&key), &fixture()[..], Vec::new(), 1_700_000_000, None).unwrap();
    check_with(&Gpg::trusting(&key), &signed.output);
}

#[test]
fn keys_that_gpg_made_are_imported_and_sign() {
    for (algorithm, usage, subkey) in [("ed25519", "sign", None), ("rsa2048", "cert", Some("rsa2048"))] {
        let maker = Gpg::new();
        let make = ["--pinentry-mode", "loopback", "--passphrase", ""];
        maker.must(
            &[&make[..], &["--quick-gen-key", "Admin <a@example.org>", algorithm, usage, "never"]].concat(),
            b"",
        );
        if let Some(subkey) = subkey {
            let keys = maker.must(&["--with-colons", "--list-keys"], b"").stdout;
            let keys = String::from_utf8(keys).unwrap();
            let fingerprint = keys.lines().find_map(|line| line.strip_prefix("fpr:::::::::")).unwrap();
            let fingerprint = fingerprint.trim_end_matches(':').to_owned();
            maker.must(
                &[&make[..], &["--quick-add-key", &fingerprint, subkey, "sign", "never"]].concat(),
                b"",
            );
        }
        let secret = maker.must(&["--armor", "--export-secret-keys"], b"").stdout;
        let key = OpenPgpKey::from_armored(std::str::from_utf8(&secret).unwrap()).unwrap();
        let signed = sign_gpkg(Some(&key), &fixture()[..], Vec::new(), 1_700_000_000, None).unwrap();
        check_with(&Gpg::trusting(&key), &signed.output);
    }
}

#[test]
fn a_key_with_a_passphrase_is_refused_with_the_reason() {
    let maker = Gpg::new();
    let make = ["--pinentry-mode", "loopback", "--passphrase", "secret"];
    maker.must(
        &[&make[..], &["--quick-gen-key", "Admin <a@example.org>", "ed25519", "sign", "never"]].concat(),
        b"",
    );
    let secret = maker.must(&[&make[..], &["--armor", "--export-secret-keys"]].concat(), b"").stdout;
    let error = OpenPgpKey::from_armored(std::str::from_utf8(&secret).unwrap()).err().unwrap();
    assert!(error.contains("no passphrase"), "{error}");
}
