//! Derivations, Nix's build instructions, as `.drv` files hold them (in ATerm syntax).
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

/// The largest `.drv` file that is accepted, in bytes.
pub const MAX_BYTES: usize = 32 << 20;
/// The most strings that are accepted in one file. An empty string takes three bytes there and
/// more in memory.
pub const MAX_STRINGS: usize = 500_000;

/// A derivation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derivation {
    /// Outputs by name.
    pub outputs: BTreeMap<String, Output>,
    /// The derivations it depends on, and which of their outputs.
    pub input_derivations: BTreeMap<StorePath, BTreeSet<String>>,
    /// Store paths it depends on that are not built, such as sources.
    pub input_sources: BTreeSet<StorePath>,
    /// The platform that builds it, such as `x86_64-linux`.
    pub system: String,
    /// The program to run.
    pub builder: String,
    /// Its arguments. Strings in Nix are bytes.
    pub args: Vec<Vec<u8>>,
    /// Its environment.
    pub env: BTreeMap<String, Vec<u8>>,
}

/// An output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Where it is installed.
    pub path: StorePath,
    /// The hash that the content must have (a fixed-output derivation). Such a build may use the
    /// network, and its path depends on the hash and the name only.
    pub fixed: Option<FixedHash>,
}

/// The expected hash of a fixed output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedHash {
    /// Whether the NAR of the output is hashed, or its content as one regular file.
    pub recursive: bool,
    /// The hash function.
    pub algorithm: HashAlgorithm,
    /// The hash.
    pub hash: Vec<u8>,
}

/// A hash function for fixed outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashAlgorithm {
    /// MD5.
    Md5,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl HashAlgorithm {
    const ALL: [Self; 4] = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512];

    /// The name in a `.drv` file.
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

    /// The function of this name.
    pub(in crate::nix) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

impl FixedHash {
    /// Mode and function as a `.drv` file has them: `sha256`, or `r:sha256` for a NAR.
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
