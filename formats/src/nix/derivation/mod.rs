//! Derivations, Nix's build instructions, as stored in `.drv` files (in ATerm syntax).
//!
//! Only derivations whose output paths are known before the build are supported. The
//! experimental kinds (floating content-addressed, impure, dynamic) are refused with an error
//! that names the kind.

mod aterm;
mod error;
mod verify;

pub use error::{DerivationError, VerifyError};

use super::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet};

/// The maximum size of a `.drv` file in bytes.
pub const MAX_BYTES: usize = 32 << 20;
/// The maximum number of strings in one file. An empty string takes three bytes in the file and more in
/// memory.
pub const MAX_STRINGS: usize = 500_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derivation {
    pub outputs: BTreeMap<String, Output>,
    /// The derivations that this one depends on, and which of their outputs it uses.
    pub input_derivations: BTreeMap<StorePath, BTreeSet<String>>,
    /// The store paths that this derivation depends on and that are not built, such as sources.
    pub input_sources: BTreeSet<StorePath>,
    /// The platform that builds the derivation, such as `x86_64-linux`.
    pub system: String,
    pub builder: String,
    /// Arguments of the builder. Strings in Nix are bytes.
    pub args: Vec<Vec<u8>>,
    pub env: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The store path where the build installs the output.
    pub path: StorePath,
    /// The hash that the content must have, for a fixed-output derivation. Such a build may use the network,
    /// and the path depends only on the hash and the name.
    pub fixed: Option<FixedHash>,
}

/// The expected hash of a fixed output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedHash {
    /// Whether the hash is that of the output's NAR. Otherwise it is that of the content of the output, one
    /// regular file.
    pub recursive: bool,
    pub algorithm: HashAlgorithm,
    /// The hash in binary.
    pub hash: Vec<u8>,
}

/// A hash function for fixed outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashAlgorithm {
    Md5,
    Sha1,
    Sha256,
    Sha512,
}

impl HashAlgorithm {
    const ALL: [Self; 4] = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512];

    /// The name of the function in a `.drv` file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The size of a hash in bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// The function with this name. `None` if it is unknown.
    pub(in crate::nix) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

impl FixedHash {
    /// Mode and function as written in a `.drv` file: `sha256`, or `r:sha256` for a NAR.
    #[must_use]
    pub fn kind(&self) -> String {
        format!("{}{}", if self.recursive { "r:" } else { "" }, self.algorithm.name())
    }

    /// The hash as hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        hex::encode(&self.hash)
    }
}
