//! What failing disks and interrupted copies do to files.

use std::{
    fs::{self, File},
    path::Path,
};

/// What a disk or an interrupted copy does to a file. The modification time stays the same.
#[derive(Debug, Clone, Copy)]
pub enum Harm {
    /// Changes a byte after the first occurrence of this text, or in the middle of the file.
    Flip(&'static str),
    /// Replaces the character at this position by another one of the base64 alphabet.
    Swap(usize),
    /// Removes the last byte.
    Cut,
    /// Removes the second half.
    Half,
    /// Removes the whole content.
    Empty,
    /// Removes the file.
    Gone,
}

impl Harm {
    /// Applies the damage to a file.
    pub fn befall(self, path: &Path) {
        let mut bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        match self {
            Self::Flip(mark) => {
                let found = bytes.windows(mark.len().max(1)).position(|window| window == mark.as_bytes());
                let at = if mark.is_empty() { bytes.len() / 2 } else { found.unwrap() + mark.len() };
                bytes[at] ^= 1;
            }
            Self::Swap(at) => bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' },
            Self::Cut => drop(bytes.pop()),
            Self::Half => bytes.truncate(bytes.len() / 2),
            Self::Empty => bytes.clear(),
            Self::Gone => return fs::remove_file(path).unwrap(),
        }
        let date = fs::metadata(path).unwrap().modified().unwrap();
        let file = File::options().write(true).open(path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        file.set_modified(date).unwrap();
    }
}
