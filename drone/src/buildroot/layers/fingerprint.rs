//! Fingerprints of a layer's directory: of its structure, and of the content of its files.

use crate::buildroot::layer::walk;
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};
use swarm_common::digest::Digest;

/// Fingerprints a directory in one line: a digest of the names, kinds, modes, owners, sizes and link
/// targets below it, the total size in bytes, and a digest of the files' modification times. It
/// detects files that were written to; [`content`] also detects bit rot, but reads everything.
///
/// # Errors
/// The directory cannot be read.
pub fn seal(dir: &Path) -> io::Result<String> {
    let (mut hash, mut times, mut bytes) = (Sha256::new(), Sha256::new(), 0);
    walk(dir, &mut |path, found| {
        let name = path.strip_prefix(dir).unwrap_or(path).as_os_str();
        let target = if found.is_symlink() { fs::read_link(path)? } else { PathBuf::new() };
        let size = if found.is_dir() { 0 } else { found.len() };
        bytes += size;
        let numbers = [u64::from(found.mode()), u64::from(found.uid()), u64::from(found.gid()), size];
        for part in [name.as_encoded_bytes(), target.as_os_str().as_encoded_bytes()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        numbers.iter().for_each(|number| hash.update(number.to_be_bytes()));
        if found.is_file() {
            [found.mtime(), found.mtime_nsec()].iter().for_each(|time| times.update(time.to_be_bytes()));
        }
        Ok(())
    })?;
    let [hash, times] = [hash, times].map(|hash| Digest(hash.finalize().into()));
    Ok(format!("{hash} {bytes} {times}\n"))
}

/// Bytes of a file that are read at a time.
pub const PIECE: usize = 1 << 20;

/// The digest in hexadecimal of the names and contents of all files below a directory. `pause` is called
/// before each file and after each piece of a file; an error from it ends the reading.
///
/// # Errors
/// The directory cannot be read.
pub fn content(dir: &Path, pause: &mut dyn FnMut() -> io::Result<()>) -> io::Result<String> {
    let (mut hash, mut piece) = (Sha256::new(), vec![0; PIECE]);
    walk(dir, &mut |path, found| {
        if !found.is_file() {
            return Ok(());
        }
        let name = path.strip_prefix(dir).unwrap_or(path).as_os_str();
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name.as_encoded_bytes());
        hash.update(found.len().to_be_bytes());
        let mut file = File::open(path)?;
        loop {
            pause()?;
            let read = file.read(&mut piece)?;
            if read == 0 {
                return Ok(());
            }
            hash.update(&piece[..read]);
        }
    })?;
    Ok(Digest(hash.finalize().into()).to_string())
}
