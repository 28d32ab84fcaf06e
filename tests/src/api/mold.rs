//! Valid packages in any number and size, made from one that the real Portage built: with another name and
//! image, the same metadata otherwise, and a matching Manifest.

use super::fixture;
use anyhow::{Context, Result};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::Path,
};
use swarm_formats::{
    archive::digests::MemberReader,
    portage::gpkg::{
        self, Limits,
        manifest::{Manifest, ManifestEntry},
    },
};

/// The package that serves as the model.
const MODEL: &str = "cairn-3-1.gpkg.tar";

/// The model's metadata, to be changed, and an image.
pub struct Mold {
    metadata: BTreeMap<String, Vec<u8>>,
    pub image: Vec<u8>,
}

impl Mold {
    /// Reads the default model.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn new() -> Result<Self> {
        Self::of(MODEL)
    }

    /// Reads another fixture as the model.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(model: &str) -> Result<Self> {
        let bytes = fs::read(fixture(model))?;
        let metadata = gpkg::verify(&bytes[..], &Limits::default())?.metadata.0;
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut image = Vec::new();
        for entry in archive.entries()? {
            let mut entry = entry?;
            if entry.path()?.ends_with("image.tar.zst") {
                entry.read_to_end(&mut image)?;
            }
        }
        Ok(Self { metadata, image })
    }

    /// Writes the package `directory` (such as `cairn-3-1`) to `path`, with these metadata values instead of
    /// the model's, and this image.
    ///
    /// # Errors
    /// The disk fails.
    pub fn cast(
        &self,
        path: &Path,
        directory: &str,
        values: &[(&str, &str)],
        image: &mut (impl Read + Seek),
    ) -> Result<()> {
        let mut metadata = self.metadata.clone();
        let ebuild = |metadata: &BTreeMap<String, Vec<u8>>| {
            let pf = metadata.get("PF").map_or(Cow::default(), |pf| String::from_utf8_lossy(pf));
            format!("{}.ebuild", pf.trim())
        };
        let text = metadata.remove(&ebuild(&metadata));
        metadata.extend(values.iter().map(|(key, value)| ((*key).to_owned(), format!("{value}\n").into())));
        metadata.extend(text.map(|text| (ebuild(&metadata), text)));
        let mut inner = tar::Builder::new(zstd::Encoder::new(Vec::new(), 3)?);
        for (key, value) in &metadata {
            append(&mut inner, &format!("metadata/{key}"), value.len() as u64, &value[..])?;
        }
        let metadata = inner.into_inner()?.finish()?;
        let mut out = tar::Builder::new(BufWriter::new(File::create(path)?));
        let mut entries = Vec::new();
        let size = image.seek(SeekFrom::End(0))?;
        image.rewind()?;
        let members: [(&str, u64, &mut dyn Read); 3] = [
            ("gpkg-1", 0, &mut io::empty()),
            ("metadata.tar.zst", metadata.len() as u64, &mut &metadata[..]),
            ("image.tar.zst", size, image),
        ];
        for (name, size, bytes) in members {
            let mut bytes = MemberReader::new(bytes);
            append(&mut out, &format!("{directory}/{name}"), size, &mut bytes)?;
            entries.push(ManifestEntry { name: name.to_owned(), digests: bytes.into_hasher().finish() });
        }
        let manifest = Manifest::render(&entries);
        append(&mut out, &format!("{directory}/Manifest"), manifest.len() as u64, manifest.as_bytes())?;
        out.into_inner()?.flush()?;
        Ok(())
    }
}

fn append(out: &mut tar::Builder<impl Write>, path: &str, size: u64, bytes: impl Read) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(1_700_000_000);
    header.set_uid(0);
    header.set_gid(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_path(path)?;
    header.set_cksum();
    // In the form that Python's `tarfile`, and therefore Portage, writes. The tar library would write another
    // form.
    let sum = format!("{:06o}\0 ", header.cksum()?);
    header.as_mut_bytes()[148..156].copy_from_slice(sum.as_bytes());
    out.append(&header, bytes).with_context(|| path.to_owned())
}

/// Writes an `image.tar.zst` of about `size` bytes that cannot be compressed further.
///
/// # Errors
/// The disk fails.
pub fn incompressible_image(path: &Path, size: u64) -> Result<BufReader<File>> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    let mut inner = tar::Builder::new(zstd::Encoder::new(file, 1)?);
    append(&mut inner, "image/etc/noise", size, noise(size).take(size))?;
    Ok(BufReader::with_capacity(1 << 20, inner.into_inner()?.finish()?))
}

/// An endless stream of pseudorandom bytes.
pub(crate) fn noise(seed: u64) -> impl Read {
    Noise(seed.wrapping_mul(2) | 1)
}

/// xorshift64*.
struct Noise(u64);

impl Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for piece in buffer.chunks_mut(8) {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let word = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
            piece.copy_from_slice(&word[..piece.len()]);
        }
        Ok(buffer.len())
    }
}
