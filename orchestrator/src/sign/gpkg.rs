//! Signing GPKGs. Packages from drones are unsigned, or signed with a key that is not trusted here.
//!
//! A signed package is the unsigned one up to its Manifest, followed by the signatures of its archives and a
//! clear-signed Manifest (GLEP 78 requires readers to accept any order). So [`seal`] signs a file that was
//! just verified by appending a few kilobytes, without reading or copying it again: the required digests
//! continue from the verification's state. [`sign_gpkg`] copies containers that have an unusual format or
//! signatures, and compares the copied data with the old Manifest, so that damaged data is never signed.

use super::{error::KeyError, key::OpenPgpKey};
use std::io::{self, Read, Write};
use swarm_formats::{
    archive::{
        digests::{FileDigests, FileWriter, MemberHasher, MemberReader},
        sha512::Sha512,
        tar_reader::{TarError, TarReader},
    },
    portage::gpkg::{
        Body, Gpkg, GpkgError, Stamp, is_signable,
        manifest::{self, Manifest, ManifestEntry},
    },
};

#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The input cannot be read or is not a tar archive.
    #[error("cannot read the package to sign: {0}")]
    Read(#[from] TarError),
    /// The input is no longer the valid package that was verified.
    #[error("the package to sign is invalid: {0}")]
    Unsound(String),
    /// The output could not be written.
    #[error("cannot write the signed package: {0}")]
    Write(#[source] io::Error),
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl From<GpkgError> for SignError {
    fn from(error: GpkgError) -> Self {
        Self::Unsound(error.to_string())
    }
}

/// Python's `tarfile`, and therefore Portage, pads every file to a multiple of this.
const RECORD: u64 = 10240;
/// The largest size that fits into the octal field of a ustar header.
const USTAR_SIZE: u64 = 0o777_7777_7777;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed<W> {
    /// The output that was passed in.
    pub output: W,
    /// The digests of the whole signed file.
    pub digests: FileDigests,
}

/// Signs a verified package by writing everything after `body` to `output`, which must be positioned at the
/// end of the body. Without a key, only completes the container. The new members have `mtime` (seconds since
/// the Unix epoch).
///
/// # Errors
/// Writing or signing fails.
pub fn seal<W: Write>(
    key: Option<&OpenPgpKey>,
    package: &Gpkg,
    body: &Body,
    output: W,
    mtime: u64,
) -> Result<Signed<W>, SignError> {
    let tar = tar::Builder::new(FileWriter::resume(output, body.file.clone()));
    let (entries, to_sign) = (package.members.clone(), body.to_sign.clone());
    Container { tar, mtime, entries, to_sign }.sign(key, &package.directory)
}

/// Reads a verified package from `input` and writes it signed to `output`. Existing signatures are
/// dropped, and `stamp` replaces the metadata and the directory. All members get `mtime` (seconds since the Unix
/// epoch).
///
/// # Errors
/// Reading, writing or signing fails, or the input does not match its Manifest. The output is then
/// unusable.
pub fn sign_gpkg<W: Write>(
    key: Option<&OpenPgpKey>,
    input: impl Read,
    output: W,
    mtime: u64,
    stamp: Option<&Stamp>,
) -> Result<Signed<W>, SignError> {
    let mut tar = TarReader::new(input);
    let new = tar::Builder::new(FileWriter::new(output));
    let mut out = Container { tar: new, mtime, entries: Vec::new(), to_sign: Vec::new() };
    // The members that the old Manifest must list.
    let mut read = Vec::new();
    let mut old_manifest = None;
    let mut directory = None;
    let renamed = stamp.and_then(|stamp| stamp.directory.as_deref());
    while let Some(entry) = tar.next_entry()? {
        let path = std::str::from_utf8(&entry.path).ok().and_then(|path| path.split_once('/'));
        let (place, name) =
            path.ok_or_else(|| SignError::Unsound("a member has an invalid name".to_owned()))?;
        if directory.get_or_insert_with(|| place.to_owned()) != place {
            return Err(SignError::Unsound("it has more than one directory".to_owned()));
        }
        let place = renamed.unwrap_or(place);
        if name == "Manifest" {
            if entry.size > manifest::MAX_BYTES {
                return Err(SignError::Unsound("its Manifest is too large".to_owned()));
            }
            let mut bytes = Vec::new();
            tar.read_to_end(&mut bytes).map_err(TarError::Io)?;
            old_manifest = Some(Manifest::parse(&bytes)?);
        } else if let Some(stamp) = stamp.filter(|stamp| stamp.member == name) {
            let mut old = MemberReader::new(&mut tar);
            io::copy(&mut old, &mut io::sink()).map_err(TarError::Io)?;
            read.push(ManifestEntry { name: name.to_owned(), digests: old.into_hasher().finish() });
            let size = stamp.data.len() as u64;
            out.copy(place, name, size, &mut &stamp.data[..])?;
        } else if !name.ends_with(".sig") {
            out.copy(place, name, entry.size, &mut tar)?;
            read.extend(out.entries.last().cloned());
        }
    }
    let old_manifest = old_manifest.ok_or_else(|| SignError::Unsound("it has no Manifest".to_owned()))?;
    for entry in &read {
        if !old_manifest.entries.contains(entry) {
            return Err(SignError::Unsound(format!("`{}` does not match the Manifest", entry.name)));
        }
    }
    out.sign(key, renamed.unwrap_or(&directory.unwrap_or_default()))
}

struct Container<W: Write> {
    tar: tar::Builder<FileWriter<W>>,
    mtime: u64,
    entries: Vec<ManifestEntry>,
    to_sign: Vec<(String, Sha512)>,
}

impl<W: Write> Container<W> {
    /// Appends the signatures and the Manifest, and finishes the container.
    fn sign(mut self, key: Option<&OpenPgpKey>, directory: &str) -> Result<Signed<W>, SignError> {
        let Some(key) = key else {
            let manifest = Manifest::render(&self.entries);
            self.add(directory, "Manifest", manifest.as_bytes())?;
            let (output, digests) = self.finish()?.finish();
            return Ok(Signed { output, digests });
        };
        for (name, digest) in std::mem::take(&mut self.to_sign) {
            let name = format!("{name}.sig");
            let signature = key.detached(digest)?;
            let mut hasher = MemberHasher::default();
            hasher.update(signature.as_bytes());
            self.add(directory, &name, signature.as_bytes())?;
            self.entries.push(ManifestEntry { name, digests: hasher.finish() });
        }
        let manifest = key.clear_sign(&Manifest::render(&self.entries))?;
        self.add(directory, "Manifest", manifest.as_bytes())?;
        let (output, digests) = self.finish()?.finish();
        Ok(Signed { output, digests })
    }

    /// Appends a member from memory.
    fn add(&mut self, directory: &str, name: &str, bytes: &[u8]) -> Result<(), SignError> {
        self.append(&format!("{directory}/{name}"), bytes.len() as u64, bytes)
    }

    /// Copies a member from the input.
    fn copy(
        &mut self,
        directory: &str,
        name: &str,
        size: u64,
        reader: &mut impl Read,
    ) -> Result<(), SignError> {
        let mut tee = Tee { reader, hasher: MemberHasher::default(), failed: None };
        let result = self.append(&format!("{directory}/{name}"), size, &mut tee);
        if let Some(error) = tee.failed {
            return Err(TarError::Io(error).into());
        }
        result?;
        if is_signable(name) {
            self.to_sign.push((name.to_owned(), tee.hasher.sha512()));
        }
        self.entries.push(ManifestEntry { name: name.to_owned(), digests: tee.hasher.finish() });
        Ok(())
    }

    fn append(&mut self, path: &str, size: u64, reader: impl Read) -> Result<(), SignError> {
        // The same choice as Portage: ustar, or the GNU format if a field is too small.
        let fits = path.len() <= 100 && size <= USTAR_SIZE;
        let mut header = if fits { tar::Header::new_ustar() } else { tar::Header::new_gnu() };
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(self.mtime);
        header.set_uid(0);
        header.set_gid(0);
        header.set_entry_type(tar::EntryType::Regular);
        self.tar.append_data(&mut header, path, reader).map_err(SignError::Write)
    }

    fn finish(self) -> Result<FileWriter<W>, SignError> {
        let mut out = self.tar.into_inner().map_err(SignError::Write)?;
        let padding = out.written().next_multiple_of(RECORD) - out.written();
        io::copy(&mut io::repeat(0).take(padding), &mut out).map_err(SignError::Write)?;
        out.flush().map_err(SignError::Write)?;
        Ok(out)
    }
}

/// Hashes the bytes that pass through, and distinguishes errors of the reader from those of the writer.
struct Tee<R> {
    reader: R,
    hasher: MemberHasher,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer).map_err(|error| {
            let kind = error.kind();
            self.failed = Some(error);
            io::Error::from(kind)
        })?;
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};
    use swarm_formats::portage::gpkg::{self, Limits};

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../formats/tests/data/binhost").join(name)
    }

    fn unsigned() -> Vec<u8> {
        std::fs::read(fixture("pebble-1.2-1.gpkg.tar")).unwrap()
    }

    fn names(bytes: &[u8]) -> Vec<String> {
        let mut archive = tar::Archive::new(bytes);
        archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_signed_package_is_sound_and_has_the_same_content() {
        let key = OpenPgpKey::generate("Test <test@example.org>").unwrap();
        let input = unsigned();
        let before = gpkg::verify(&input[..], &Limits::default()).unwrap();
        let signed = sign_gpkg(Some(&key), &input[..], Vec::new(), 1_700_000_000, None).unwrap();
        let after = gpkg::verify(&signed.output[..], &Limits::default()).unwrap();
        assert_eq!(after.metadata, before.metadata);
        assert_eq!(after.digests, signed.digests);
        assert!(after.signed && !before.signed);
        assert_eq!(signed.output.len() as u64 % RECORD, 0);
        let expected = [
            "gpkg-1",
            "metadata.tar.zst",
            "image.tar.zst",
            "metadata.tar.zst.sig",
            "image.tar.zst.sig",
            "Manifest",
        ];
        assert_eq!(names(&signed.output), expected.map(|name| format!("pebble-1.2-1/{name}")));
    }

    #[test]
    fn a_package_is_sealed_as_if_it_had_been_copied() {
        let key = OpenPgpKey::generate("Test").unwrap();
        let input = unsigned();
        let package = gpkg::verify(&input[..], &Limits::default()).unwrap();
        let body = package.body.clone().unwrap();
        let output = input[..usize::try_from(body.size).unwrap()].to_vec();
        let sealed = seal(Some(&key), &package, &body, output, 1_700_000_000).unwrap();
        let again = gpkg::verify(&sealed.output[..], &Limits::default()).unwrap();
        assert_eq!(again.digests, sealed.digests);
        assert!(again.signed && again.body.is_none(), "signatures of others are not sealed in");
        let copied = sign_gpkg(Some(&key), &input[..], Vec::new(), 1_700_000_000, None).unwrap();
        assert_eq!(names(&sealed.output), names(&copied.output));
        assert_eq!(sealed.output.len(), copied.output.len());
    }

    #[test]
    fn a_container_that_readers_may_see_differently_is_not_sealed() {
        let input = unsigned();
        let at = |offset: usize, byte: u8| {
            let mut changed = input.clone();
            changed[offset] = byte;
            let sum: u32 = changed[..512]
                .iter()
                .enumerate()
                .map(|(n, &b)| if (148..156).contains(&n) { 32 } else { b.into() })
                .sum();
            changed[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            gpkg::verify(&changed[..], &Limits::default()).unwrap().body.is_some()
        };
        assert!(at(265, b'r'), "an owner's name harms nobody");
        for (offset, byte) in
            [(99, b'x'), (107, b' '), (156, 0), (156, b'7'), (160, b'x'), (263, b' '), (500, 1)]
        {
            let plain = std::panic::catch_unwind(|| at(offset, byte));
            assert!(!plain.unwrap_or(false), "byte {offset} as {byte}");
        }
        // Bytes after the metadata that no reader looks at.
        let mut hidden = input.clone();
        let mut archive = tar::Archive::new(&input[..]);
        let metadata = archive.entries().unwrap().nth(1).unwrap().unwrap();
        hidden[usize::try_from(metadata.raw_file_position() + metadata.size()).unwrap()] = b'x';
        assert!(gpkg::verify(&hidden[..], &Limits::default()).unwrap().body.is_none());
    }

    #[test]
    fn a_name_too_long_for_ustar_is_signed_as_well() {
        let key = OpenPgpKey::generate("Test").unwrap();
        let long = "p".repeat(120);
        let mut renamed = tar::Builder::new(Vec::new());
        let input = unsigned();
        let mut archive = tar::Archive::new(&input[..]);
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut header = tar::Header::new_gnu();
            header.set_size(entry.size());
            header.set_mode(0o644);
            let path = entry.path().unwrap().to_str().unwrap().replace("pebble-1.2-1", &long);
            renamed.append_data(&mut header, path, &mut entry).unwrap();
        }
        let signed = sign_gpkg(Some(&key), &renamed.into_inner().unwrap()[..], Vec::new(), 1, None).unwrap();
        assert_eq!(gpkg::verify(&signed.output[..], &Limits::default()).unwrap().directory, long);
    }

    // fault: 31
    #[test]
    fn signatures_of_others_are_replaced() {
        let other = OpenPgpKey::generate("Other").unwrap();
        let key = OpenPgpKey::generate("Test").unwrap();
        let foreign = sign_gpkg(Some(&other), &unsigned()[..], Vec::new(), 1, None).unwrap();
        let signed = sign_gpkg(Some(&key), &foreign.output[..], Vec::new(), 1, None).unwrap();
        assert_eq!(names(&signed.output), names(&foreign.output));
        gpkg::verify(&signed.output[..], &Limits::default()).unwrap();
        let (ours, theirs) = (signatures(&signed.output), signatures(&foreign.output));
        assert!(!ours.is_empty() && ours.iter().all(|signature| !theirs.contains(signature)));
    }

    /// The detached signatures, and the signature within the Manifest.
    fn signatures(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut archive = tar::Archive::new(bytes);
        let read = |entry: io::Result<tar::Entry<'_, &[u8]>>| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let clear = content.windows(29).position(|w| w == b"-----BEGIN PGP SIGNATURE-----");
            match clear {
                Some(at) if name.ends_with("Manifest") => Some(content.split_off(at)),
                _ => name.ends_with(".sig").then_some(content),
            }
        };
        archive.entries().unwrap().filter_map(read).collect()
    }

    #[test]
    fn damage_since_the_check_is_not_signed() {
        let key = OpenPgpKey::generate("Test").unwrap();
        let good = unsigned();
        let manifest_at = good.windows(9).position(|window| window == b"DATA gpkg").unwrap();
        for at in (1100..manifest_at).step_by(97) {
            let mut damaged = good.clone();
            damaged[at] ^= 1;
            if damaged != good && sign_gpkg(Some(&key), &damaged[..], Vec::new(), 1, None).is_ok() {
                // Only tar padding can change unnoticed, and padding is not copied.
                let again = gpkg::verify(&damaged[..], &Limits::default());
                assert!(again.is_ok(), "byte {at} was signed");
            }
        }
        let content = good.iter().rposition(|&b| b != 0).unwrap();
        for cut in (0..content).step_by(511) {
            assert!(sign_gpkg(Some(&key), &good[..cut], Vec::new(), 1, None).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_full_disk_is_told_apart_from_a_bad_package() {
        let key = OpenPgpKey::generate("Test").unwrap();
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        match sign_gpkg(Some(&key), &unsigned()[..], full, 1, None).err().unwrap() {
            SignError::Write(error) => assert_eq!(error.kind(), io::ErrorKind::StorageFull),
            other => panic!("{other}"),
        }
    }
}
