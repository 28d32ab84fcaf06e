//! Reads an uploaded archive: a NAR, compressed with zstd, from a drone that is not trusted.
//!
//! One pass over the bytes, of which only a small window is in memory, verifies the structure and
//! finds out everything that the cache says about the path: hash and size of the NAR, its
//! references and its listing.

use super::{
    listing::Listing,
    mentions::{Mentions, Scanned},
};
use crate::rejection::{ExamineError, Rejection};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};
use swarm_common::digest::Digest;
use swarm_formats::{
    archive::WINDOW_LOG_MAX,
    nix::{
        nar::{NarError, NarEvent, NarKind, NarLimits, NarReader, NarSum, References},
        store_path::StorePath,
    },
};

/// How many times an uncompressed NAR may be larger than the largest upload.
const EXPANSION: u64 = 8;

/// What an archive contains.
#[derive(Debug, Clone)]
pub struct NarFile {
    /// Digest of the compressed file.
    pub read: Digest,
    /// The state of hashing it, to hash what is appended.
    pub hash: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// Hash and size of the NAR.
    pub sum: NarSum,
    /// Digest of the content if the archive is a single file that is not executable, from which the
    /// paths of some sources are computed.
    pub flat: Option<Digest>,
    /// The sought paths that it refers to.
    pub references: BTreeSet<StorePath>,
    /// Hash parts of other store paths that it names.
    pub mentions: BTreeSet<String>,
    /// The JSON of its listing.
    pub listing: Option<String>,
}

/// What to look for in an archive.
#[derive(Debug, Clone, Default)]
pub struct Sought {
    /// The paths that it may refer to.
    pub paths: BTreeSet<StorePath>,
    /// Whether to remember all other store paths that it names.
    pub mentions: bool,
}

/// Limits for archives where uploads have at most `upload_size`.
#[must_use]
pub fn limits(upload_bytes: u64) -> NarLimits {
    NarLimits { bytes: upload_bytes.saturating_mul(EXPANSION), ..NarLimits::default() }
}

/// Reads a whole file.
///
/// # Errors
/// [`ExamineError::Rejected`] if the file is at fault, [`ExamineError::Unreadable`] if it cannot be
/// read.
pub fn examine(reader: impl Read, limits: &NarLimits, sought: &Sought) -> Result<NarFile, ExamineError> {
    let mut input = Input { inner: reader, hash: Sha256::new(), size: 0, broken: None };
    let result = read(&mut input, limits, sought);
    if let Some(error) = input.broken {
        return Err(ExamineError::Unreadable(error));
    }
    let mut file = result.map_err(rejection)?;
    (file.hash, file.size) = (input.hash.clone(), input.size);
    file.read = Digest(input.hash.finalize().into());
    Ok(file)
}

fn read<R: Read>(input: &mut Input<R>, limits: &NarLimits, sought: &Sought) -> Result<NarFile, NarError> {
    let mut decoder = zstd::Decoder::new(&mut *input)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    let mut mentions = Mentions::default();
    let nar = Scanned::new(decoder, sought.mentions.then_some(&mut mentions));
    let mut nar = NarReader::scanning(nar, *limits, References::to(&sought.paths));
    let (mut listing, mut flat, mut is_root) = (Listing::default(), None, true);
    while let Some(event) = nar.next_event()? {
        listing.add(&event);
        if let NarEvent::Node { kind: NarKind::File { executable: false, .. }, .. } = event
            && is_root
        {
            flat = Some(Digest::of_all(&mut nar)?.0);
        }
        is_root = false;
    }
    let summary = nar.finish()?;
    let own = |part: &String| !summary.references.iter().any(|path| path.hash_part() == part);
    Ok(NarFile {
        read: Digest([0; 32]),
        hash: Sha256::new(),
        size: 0,
        sum: summary.sum,
        flat,
        mentions: mentions.found().into_iter().filter(own).collect(),
        references: summary.references,
        listing: listing.finish(),
    })
}

fn rejection(error: NarError) -> Rejection {
    let (kind, message) = match &error {
        NarError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            ("bad-compression", "the zstd file ends too early".to_owned())
        }
        NarError::Io(error) => ("bad-compression", format!("the file cannot be decompressed: {error}")),
        NarError::TooLarge { .. } => ("too-large", error.to_string()),
        _ => ("bad-nar", error.to_string()),
    };
    Rejection { kind, message }
}

/// The compressed file. Hashes it, and keeps the errors of the disk apart from those of the
/// decompressor.
struct Input<R> {
    inner: R,
    hash: Sha256,
    size: u64,
    broken: Option<io::Error>,
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(n) => {
                self.hash.update(&buffer[..n]);
                self.size += n as u64;
                Ok(n)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let told = io::Error::from(error.kind());
                self.broken = Some(error);
                Err(told)
            }
        }
    }
}

/// [`examine`] for the file at `path`.
///
/// # Errors
/// See [`examine`].
pub fn examine_file(path: &Path, limits: &NarLimits, sought: &Sought) -> Result<NarFile, ExamineError> {
    let file = File::open(path).map_err(ExamineError::Unreadable)?;
    examine(BufReader::with_capacity(256 * 1024, file), limits, sought)
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
