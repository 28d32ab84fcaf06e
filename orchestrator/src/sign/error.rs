//! Why a key cannot be used.

use crate::store::disk::DiskError;
use std::path::PathBuf;

/// Why there is no usable key, or signing failed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file does not contain a usable secret key.
    #[error("cannot use the signing key in {}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why, and what to do about it.
        reason: String,
    },
    /// The file can be read by others.
    #[error("the signing key {} is readable by others (mode {mode:o}): run `chmod 600` on it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The OpenPGP library failed.
    #[error("OpenPGP: {0}")]
    OpenPgp(#[from] pgp::errors::Error),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}
