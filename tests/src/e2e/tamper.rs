//! Changes that an attacker between the swarm and a workstation could make to a package file.
//!
//! The layout is that of GLEP 78: an outer tar with members in one folder, each with a detached `.sig`, and a
//! clear-signed `Manifest` of their digests.

use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File},
    io::{Read, Write},
    path::Path,
};
use swarm_formats::archive::digests::{MemberDigests, MemberHasher};

/// A member of the outer tar: its path and content.
type Member = (String, Vec<u8>);

/// Removes all signatures and the armour around the Manifest, as if the package had never been signed.
///
/// # Errors
/// It is not a package file.
pub fn strip_signatures(package: &Path) -> Result<()> {
    let mut members = read(package)?;
    let before = members.len();
    members.retain(|(path, _)| !path.ends_with(".sig"));
    ensure!(members.len() < before, "{} has no signatures to strip", package.display());
    let signed = manifest(&members)?;
    let plain: Vec<&str> =
        signed.lines().filter(|line| line.starts_with("DATA ") && !line.contains(".sig ")).collect();
    replace_manifest(&mut members, &(plain.join("\n") + "\n"));
    write(package, &members)
}

/// Changes a byte of the installed content and corrects the digests in the Manifest, so that only the
/// signatures reveal the change.
///
/// # Errors
/// It is not a package file.
pub fn alter(package: &Path) -> Result<()> {
    let mut members = read(package)?;
    let (path, bytes) =
        members.iter_mut().find(|(path, _)| is_image(path)).context("a package file without an image")?;
    let last = bytes.last_mut().context("an empty image")?;
    *last ^= 1;
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    let mut hasher = MemberHasher::default();
    hasher.update(bytes);
    let MemberDigests { size, sha512, blake2b } = hasher.finish();
    let honest = format!("DATA {name} {size} SHA512 {sha512} BLAKE2B {blake2b}");
    let about = format!("DATA {name} ");
    let text = manifest(&members)?;
    let repaired: Vec<&str> =
        text.lines().map(|line| if line.starts_with(&about) { honest.as_str() } else { line }).collect();
    replace_manifest(&mut members, &(repaired.join("\n") + "\n"));
    write(package, &members)
}

fn is_image(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.starts_with("image.tar") && !name.ends_with(".sig"))
}

fn is_manifest(path: &str) -> bool {
    path.ends_with("/Manifest")
}

fn manifest(members: &[Member]) -> Result<String> {
    let (_, bytes) = members.iter().find(|(path, _)| is_manifest(path)).context("no Manifest")?;
    Ok(String::from_utf8(bytes.clone())?)
}

fn replace_manifest(members: &mut [Member], text: &str) {
    for (path, bytes) in members {
        if is_manifest(path) {
            *bytes = text.as_bytes().to_vec();
        }
    }
}

fn read(package: &Path) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    let mut archive = tar::Archive::new(File::open(package)?);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_str().context("a path that is not text")?.to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        members.push((path, bytes));
    }
    Ok(members)
}

fn write(package: &Path, members: &[Member]) -> Result<()> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, bytes) in members {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(u64::try_from(bytes.len())?);
        archive.append_data(&mut header, path, bytes.as_slice())?;
    }
    let mut file = fs::File::create(package)?;
    file.write_all(&archive.into_inner()?)?;
    Ok(())
}
