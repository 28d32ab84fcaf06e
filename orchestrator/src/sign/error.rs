//! Errors of keys and signing.

use crate::store::disk::DiskError;
use std::path::PathBuf;

/// Why there is no usable key, or signing failed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file does not contain a usable secret key.
    #[error("cannot use the signing key in {}: {reason}", path.display())]
    Unusable {
        path: PathBuf,
        /// Why, and what to do about it.
        reason: String,
    },
    /// Other users can read the file.
    #[error("the signing key {} is readable by others (mode {mode:o}): run `chmod 600` on it", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("OpenPGP: {0}")]
    OpenPgp(#[from] pgp::errors::Error),
    #[error(transparent)]
    Disk(#[from] DiskError),
}
