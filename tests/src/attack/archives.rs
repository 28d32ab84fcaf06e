//! Attacks with snapshots and images of bases whose content does not match their name or is harmful.

use super::{
    Dice,
    packages::mutate::{change_bytes, change_header},
    prey::Prey,
    tally::{Due, Tally},
};
use crate::api::{
    forge::{end, raw},
    snapshot,
};
use anyhow::Result;
use reqwest::Method;
use std::{fs, os::unix::fs::symlink, path::Path, time::Instant};
use swarm_common::digest::Digest;
use swarm_formats::image::ImageContents;

/// A valid archive.
struct Sound {
    path: &'static str,
    digest: Digest,
    packed: Vec<u8>,
    tar: Vec<u8>,
}

/// Attacks until `until`.
///
/// # Errors
/// A valid archive cannot be created.
pub async fn attack(prey: &Prey, dice: &mut Dice, until: Instant, tally: &mut Tally) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (digest, path) = snapshot(&folder.path().join("snapshot.tar.zst"))?;
    let image = image(&folder.path().join("root"))?;
    let mut sound = Vec::new();
    for (path, digest, packed) in [("snapshots", digest, fs::read(path)?), ("images", image.0, image.1)] {
        let tar = zstd::decode_all(&packed[..])?;
        sound.push(Sound { path, digest, packed, tar });
    }
    for one in &sound {
        for (what, entry) in tricks() {
            let tar = [&one.tar[..one.tar.len() - 1024], &end(entry)].concat();
            let packed = zstd::encode_all(&tar[..], 1)?;
            send(prey, one.path, what, Digest::of(&tar), packed, Due::Refused, tally).await;
        }
    }
    while Instant::now() < until {
        let one = &sound[dice.below(sound.len())];
        let (mut packed, mut tar) = (one.packed.clone(), one.tar.clone());
        match dice.below(4) {
            0 => {
                let at = dice.below(packed.len());
                packed[at] ^= 1 << dice.below(8);
            }
            1 => packed = change_bytes(dice, packed),
            _ => {
                (0..=dice.below(2)).for_each(|_| change_header(dice, &mut tar));
                packed = zstd::encode_all(&tar[..], 1)?;
            }
        }
        // Upload it under the original digest, or under the digest of its new content.
        let is = zstd::decode_all(&packed[..]).ok().map(|tar| Digest::of(&tar));
        let (name, due) = match is {
            Some(is) if is == one.digest && packed == one.packed => (is, Due::Taken),
            // It may need more memory for unpacking than is allowed.
            Some(is) if is == one.digest => (is, Due::Either),
            Some(is) if dice.below(2) == 0 => (is, Due::Either),
            _ => (one.digest, Due::Refused),
        };
        send(prey, one.path, "a changed archive", name, packed, due, tally).await;
    }
    Ok(())
}

async fn send(
    prey: &Prey,
    kind: &str,
    what: &str,
    digest: Digest,
    packed: Vec<u8>,
    due: Due,
    tally: &mut Tally,
) {
    let token = prey.token();
    let (answer, took) = prey.send(Method::PUT, &format!("/{kind}/{digest}"), token, &[], packed).await;
    tally.judge(format!("{kind}: {what}, called {}", digest.short()), due, &answer, took);
}

/// Entries that neither kind of archive may contain.
fn tricks() -> Vec<(&'static str, Vec<u8>)> {
    let mut bomb = raw(b"zz/zeros", b'0', b"", b"");
    bomb.resize(512 + (32 << 20), 0);
    bomb[124..136].copy_from_slice(format!("{:011o}\0", 32 << 20).as_bytes());
    let behind = [raw(b"zz", b'2', b"/etc", b""), raw(b"zz/passwd", b'0', b"", b"x")].concat();
    vec![
        ("a path with ..", raw(b"../zz", b'0', b"", b"x")),
        ("an absolute path", raw(b"/zz", b'0', b"", b"x")),
        ("a device", raw(b"zz", b'4', b"", b"")),
        ("a pipe", raw(b"zz", b'6', b"", b"")),
        ("a hard link to nothing", raw(b"zz", b'1', b"/etc/shadow", b"")),
        ("a path behind a link", behind),
        ("32 MiB behind a wrong checksum", bomb),
    ]
}

/// The image of a tree that looks like the root of a Gentoo system.
fn image(root: &Path) -> Result<(Digest, Vec<u8>)> {
    for dir in ["etc", "usr/bin", "var"] {
        fs::create_dir_all(root.join(dir))?;
    }
    symlink("usr/bin", root.join("bin"))?;
    let elf = [&b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0"[..], &[0; 64]].concat();
    fs::write(root.join("usr/bin/sh"), elf)?;
    let mut contents = ImageContents::default();
    contents.add_root(root)?;
    let mut packed = Vec::new();
    let digest = contents.write(&mut packed, || ())?;
    Ok((digest, packed))
}
