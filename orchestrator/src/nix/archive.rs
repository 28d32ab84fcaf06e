//! Reads an uploaded archive: a NAR, compressed with zstd, from an untrusted drone.
//!
//! One pass over the bytes, with only a small window in memory, verifies the structure and collects
//! everything that the cache publishes about the path: hash and size of the NAR, its references and its
//! listing.

use super::{
    listing::Listing,
    reference_scanner::{ReferenceScanner, ScanningReader},
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

/// How much larger an uncompressed NAR may be than the largest upload, as a factor.
const EXPANSION: u64 = 8;

#[derive(Debug, Clone)]
pub struct NarFile {
    /// Digest of the compressed file.
    pub read: Digest,
    /// The hasher's state after the file, for hashing appended bytes.
    pub hash: Sha256,
    pub size: u64,
    /// Hash and size of the NAR.
    pub sum: NarSum,
    /// Digest of the content if the archive is a single non-executable file. The store paths of some sources
    /// are computed from it.
    pub flat: Option<Digest>,
    /// The sought paths that the archive refers to.
    pub references: BTreeSet<StorePath>,
    /// Hash parts of other store paths that appear in full.
    pub mentions: BTreeSet<String>,
    /// The listing as JSON; `None` if it is too large.
    pub listing: Option<String>,
}

/// What to look for in an archive.
#[derive(Debug, Clone, Default)]
pub struct ScanTargets {
    /// The paths that the archive may refer to.
    pub paths: BTreeSet<StorePath>,
    /// Whether to record all other store paths that appear in full.
    pub mentions: bool,
}

/// Limits for archives if uploads have at most `upload_bytes` bytes.
#[must_use]
pub fn limits(upload_bytes: u64) -> NarLimits {
    NarLimits { bytes: upload_bytes.saturating_mul(EXPANSION), ..NarLimits::default() }
}

/// Reads a whole compressed archive.
///
/// # Errors
/// [`ExamineError::Rejected`] if the file is at fault, [`ExamineError::Unreadable`] if it cannot be
/// read.
pub fn examine(
    reader: impl Read,
    limits: &NarLimits,
    targets: &ScanTargets,
) -> Result<NarFile, ExamineError> {
    let mut input = Input { inner: reader, hash: Sha256::new(), size: 0, broken: None };
    let result = read(&mut input, limits, targets);
    if let Some(error) = input.broken {
        return Err(ExamineError::Unreadable(error));
    }
    let mut file = result.map_err(rejection)?;
    (file.hash, file.size) = (input.hash.clone(), input.size);
    file.read = Digest(input.hash.finalize().into());
    Ok(file)
}

fn read<R: Read>(
    input: &mut Input<R>,
    limits: &NarLimits,
    targets: &ScanTargets,
) -> Result<NarFile, NarError> {
    let mut decoder = zstd::Decoder::new(&mut *input)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    let mut mentions = ReferenceScanner::default();
    let nar = ScanningReader::new(decoder, targets.mentions.then_some(&mut mentions));
    let mut nar = NarReader::scanning(nar, *limits, References::to(&targets.paths));
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

/// The compressed file. Hashes it, and distinguishes disk errors from errors of the decompressor.
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
                let same_kind = io::Error::from(error.kind());
                self.broken = Some(error);
                Err(same_kind)
            }
        }
    }
}

/// [`examine`] for the file at `path`.
///
/// # Errors
/// See [`examine`].
pub fn examine_file(path: &Path, limits: &NarLimits, targets: &ScanTargets) -> Result<NarFile, ExamineError> {
    let file = File::open(path).map_err(ExamineError::Unreadable)?;
    examine(BufReader::with_capacity(256 * 1024, file), limits, targets)
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
