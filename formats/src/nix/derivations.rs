//! The derivations of a plan in one archive, so that a drone can build one of them without evaluating the source.
//!
//! A zstd-compressed tar with a regular file `HASH-NAME.drv` for each. They are *resolved*: in place of the
//! derivations that one depends on, the file lists their outputs among its sources. So its text does not have the
//! hash that is in its name.

use super::{
    derivation::{Derivation, DerivationError, MAX_BYTES},
    store_path::{StoreDir, StorePath},
};
use crate::archive::tar_reader::{EntryKind, TarError, TarReader};
use std::{
    collections::BTreeSet,
    io::{self, Read, Write},
};

/// The maximum number of derivations, which is that of a plan's packages.
const MOST: usize = 10_000;
/// The maximum size of all derivations in bytes.
const MOST_BYTES: u64 = 1 << 30;
/// The maximum size of zstd's window, as the logarithm to base 2: 8 MiB, which decoders must support.
const WINDOW_LOG: u32 = 23;
/// Compression level.
const LEVEL: i32 = 6;

/// Why an archive of derivations is not used.
#[derive(Debug, thiserror::Error)]
pub enum DerivationsError {
    #[error(transparent)]
    Archive(#[from] TarError),
    #[error("`{0}` is not the file of a derivation")]
    Name(String),
    #[error("{path}: {error}")]
    Derivation { path: StorePath, error: DerivationError },
    #[error("{0} depends on derivations that are not resolved")]
    Unresolved(StorePath),
    #[error("{0} is in it twice")]
    Twice(StorePath),
    #[error("it has more than {limit} {what}")]
    TooLarge { what: &'static str, limit: u64 },
}

/// Writes resolved derivations.
///
/// # Errors
/// `out` cannot be written.
pub fn write<'d>(
    out: impl Write,
    derivations: impl IntoIterator<Item = (&'d StorePath, &'d Derivation)>,
) -> io::Result<()> {
    let mut tar = tar::Builder::new(zstd::Encoder::new(out, LEVEL)?);
    for (path, derivation) in derivations {
        let text = derivation.to_bytes(&StoreDir::default());
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path.as_str(), &*text)?;
    }
    tar.into_inner()?.finish()?.flush()
}

/// Reads an archive from anybody and gives each derivation to `take`.
///
/// # Errors
/// It cannot be read, is not such an archive, or is too large.
pub fn read(from: impl Read, mut take: impl FnMut(StorePath, Derivation)) -> Result<(), DerivationsError> {
    let mut zstd = zstd::Decoder::new(from).map_err(TarError::Io)?;
    zstd.window_log_max(WINDOW_LOG).map_err(TarError::Io)?;
    let mut tar = TarReader::new(zstd.take(MOST_BYTES + 1));
    let mut seen = BTreeSet::new();
    let mut left = MOST_BYTES;
    while let Some(entry) = tar.next_entry()? {
        let name = String::from_utf8_lossy(&entry.path).into_owned();
        let path = name.parse::<StorePath>().ok().filter(|path| path.derivation_name().is_some());
        let Some(path) = path.filter(|_| entry.kind == EntryKind::File) else {
            return Err(DerivationsError::Name(name.chars().take(300).collect()));
        };
        if entry.size > MAX_BYTES as u64 {
            let error = DerivationError::TooLarge { what: "its size in bytes", limit: MAX_BYTES };
            return Err(DerivationsError::Derivation { path, error });
        }
        left = left.checked_sub(entry.size).ok_or(too_large("bytes", MOST_BYTES))?;
        let mut text = Vec::new();
        tar.read_to_end(&mut text).map_err(TarError::Io)?;
        let derivation = Derivation::parse(&text, &StoreDir::default());
        let derivation = match derivation {
            Ok(derivation) if derivation.input_derivations.is_empty() => derivation,
            Ok(_) => return Err(DerivationsError::Unresolved(path)),
            Err(error) => return Err(DerivationsError::Derivation { path, error }),
        };
        if seen.len() == MOST {
            return Err(too_large("derivations", MOST as u64));
        }
        if !seen.insert(path.clone()) {
            return Err(DerivationsError::Twice(path));
        }
        take(path, derivation);
    }
    Ok(())
}

fn too_large(what: &'static str, limit: u64) -> DerivationsError {
    DerivationsError::TooLarge { what, limit }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const NAME: &str = "vsqpp200i7hamsm5v9sg4hp79s5765n9-x-1";

    fn derivation(sources: &str, inputs: &str) -> Derivation {
        let text = format!(
            "Derive([(\"out\",\"/nix/store/{NAME}\",\"\",\"\")],[{inputs}],[{sources}],\"builtin\",\"/x\",[\"-e\"],[(\"a\",\"b\")])"
        );
        Derivation::parse(text.as_bytes(), &StoreDir::default()).unwrap()
    }

    fn packed(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
        for (name, text) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            tar.append_data(&mut header, name, &**text).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    fn refusal(entries: &[(&str, Vec<u8>)]) -> String {
        read(&*packed(entries), |_, _| ()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let path: StorePath = format!("{NAME}.drv").parse().unwrap();
        let one = derivation(&format!("\"/nix/store/{NAME}-source\""), "");
        let mut archive = Vec::new();
        write(&mut archive, [(&path, &one)]).unwrap();
        let mut found = BTreeMap::new();
        read(&*archive, |path, derivation| drop(found.insert(path, derivation))).unwrap();
        assert_eq!(found, BTreeMap::from([(path, one)]));
        assert!((0..archive.len()).all(|end| read(&archive[..end], |_, _| ()).is_err()), "a cut archive");
    }

    #[test]
    fn what_is_no_resolved_derivation_is_refused_by_name() {
        let text = derivation("", "").to_bytes(&StoreDir::default());
        let drv = format!("{NAME}.drv");
        for name in [NAME, "x.drv", "a/b.drv"] {
            assert!(refusal(&[(name, text.clone())]).contains("not the file of a derivation"), "{name}");
        }
        assert!(refusal(&[(&drv, b"Derive(".to_vec())]).starts_with(&drv));
        assert!(refusal(&[(&drv, text.clone()), (&drv, text.clone())]).ends_with("twice"));
        let input = format!("(\"/nix/store/{drv}\",[\"out\"])");
        let unresolved = derivation("", &input).to_bytes(&StoreDir::default());
        assert!(refusal(&[(&drv, unresolved)]).contains("not resolved"));
        assert!(read(&b"no archive"[..], |_, _| ()).is_err());
    }
}
