//! What Nix builds: derivations, sources, their store paths and archives.
//!
//! Store paths are written in full (`/nix/store/HASH-NAME`), references by base name, as Nix does in
//! its own formats.

use crate::digest::Digest;
use serde::{Deserialize, Serialize};

/// A derivation of a plan, or a source that derivations use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NixPackage {
    /// The name with its version: `hello-2.12.1`.
    pub name: String,
    /// Store path of the derivation. None for a source, which is uploaded without a build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drv: Option<String>,
    /// The outputs, sorted by name. A source has one, named `source`.
    pub outputs: Vec<NixOutput>,
    /// The system that builds it, such as `x86_64-linux`. Empty for a source, and for what Nix itself does on
    /// every system (`builtin`).
    #[serde(default)]
    pub system: String,
    /// Whether the content is known beforehand, so that the build may use the network.
    #[serde(default)]
    pub fixed: bool,
    /// The hash that determines the path of a fixed output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_hash: Option<ContentHash>,
    /// The features that a machine must have to build it (`requiredSystemFeatures`).
    #[serde(default)]
    pub features: Vec<String>,
    /// Whether it is too small to be worth a transfer (`preferLocalBuild`).
    #[serde(default)]
    pub local: bool,
}

/// The stored archive of a plan's derivations (`formats/src/nix/derivations.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DerivationArchive {
    /// SHA-256 of the file.
    pub digest: Digest,
    /// Size of the file in bytes.
    pub size: u64,
}

impl DerivationArchive {
    /// The name by which a drone announces the archive of a plan ([`UploadRequest::target`]).
    ///
    /// [`UploadRequest::target`]: super::drone::UploadRequest::target
    pub const TARGET: &str = "derivations";
}

/// The hash that determines the path of a fixed output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ContentHash {
    /// SHA-256 of its only file.
    #[serde(rename = "sha256")]
    File,
    /// SHA-256 of its NAR.
    #[serde(rename = "r:sha256")]
    Nar,
    /// Another function, such as SHA-512. Only the drone's Nix verifies the content then.
    #[serde(rename = "other", other)]
    Other,
}

/// What a machine can build with Nix, by the configuration that its drone builds with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NixMachine {
    /// The systems whose derivations it builds: `system` first, then `extra-platforms`.
    pub systems: Vec<String>,
    /// Its features (`system-features`), such as `kvm`.
    pub features: Vec<String>,
}

impl NixMachine {
    /// The maximum number of systems, and of features, of a machine.
    pub const MOST: usize = 64;
    /// The maximum length of the name of a system or feature, in bytes.
    pub const LONGEST: usize = 128;
}

/// An output of a derivation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NixOutput {
    /// Its name, such as `out` or `dev`.
    pub name: String,
    /// Its store path.
    pub path: String,
}

/// An output that a build must return.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NixTarget {
    /// The derivation's name with its version: `hello-2.12.1`.
    pub name: String,
    /// Store path of the derivation. None for a source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drv: Option<String>,
    /// Name of the output.
    pub output: String,
    /// Store path of the output.
    pub path: String,
    /// As in [`NixPackage::content_hash`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_hash: Option<ContentHash>,
}

impl NixTarget {
    /// Splits the name at its version: after the first hyphen that no letter follows, as in Nix's
    /// `parseDrvName`.
    fn split(&self) -> (&str, &str) {
        let bytes = self.name.as_bytes();
        let at = (0..bytes.len()).find(|&at| {
            bytes[at] == b'-' && bytes.get(at + 1).is_some_and(|next| !next.is_ascii_alphabetic())
        });
        at.map_or((&self.name, ""), |at| (&self.name[..at], &self.name[at + 1..]))
    }

    /// The last component of the store path, by which other paths refer to it.
    #[must_use]
    pub fn base_name(&self) -> &str {
        base_name(&self.path)
    }

    /// The name without the version.
    #[must_use]
    pub fn family(&self) -> &str {
        self.split().0
    }

    /// The version; empty if the name has none.
    #[must_use]
    pub fn version(&self) -> &str {
        self.split().1
    }
}

/// Name of the binary cache of all Nix profiles below `/binhost/`. The name of a profile cannot begin with
/// `_`.
pub const ALL_PROFILES: &str = "_nix";

/// The directory of all store paths. It is part of the content of outputs, so it cannot be another one.
pub const STORE: &str = "/nix/store";

/// The last component of a store path.
#[must_use]
pub fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether the text is a store path, by Nix's rules for digests and names.
#[must_use]
pub fn is_store_path(text: &str) -> bool {
    let name = text.strip_prefix(STORE).and_then(|rest| rest.strip_prefix('/'));
    name.and_then(|name| name.split_at_checked(32)).is_some_and(|(hash, rest)| {
        let name = rest.strip_prefix('-').unwrap_or_default();
        hash.bytes().all(|b| b"0123456789abcdfghijklmnpqrsvwxyz".contains(&b)) && check_name(name).is_ok()
    })
}

/// The maximum length of the name of a store path, in bytes.
pub const MAX_NAME: usize = 211;

/// Checks the name of a store path, the part after the hash, against Nix's rules.
///
/// # Errors
/// The rule that the name breaks.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        Err("it is empty")
    } else if name.len() > MAX_NAME {
        Err("it is longer than 211 bytes")
    } else if !name.bytes().all(is_name_byte) {
        Err("only letters, digits and `+-._?=` are allowed")
    } else if matches!(name.split('-').next(), Some("." | "..")) {
        Err("it is `.` or `..`, or starts with `.-` or `..-`")
    } else {
        Ok(())
    }
}

/// Whether the byte may occur in the name of a store path.
#[must_use]
pub fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+-._?=".contains(&byte)
}

/// The archive (NAR) of a store path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Nar {
    /// SHA-256 of the uncompressed archive.
    pub hash: Digest,
    /// Bytes of the uncompressed archive.
    pub size: u64,
    /// Base names of the store paths that it refers to, itself included, sorted.
    pub references: Vec<String>,
}

/// A store path that must be in a drone's store before a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NixInput {
    /// The store path.
    pub path: String,
    /// Its archive.
    pub nar: Nar,
    /// Digest of the stored file: `GET /artifacts/{digest}`.
    pub digest: Digest,
    /// Digest of the file as uploaded, by which the drone that built it finds its own copy.
    pub uploaded_digest: Digest,
    /// Size of the stored file in bytes.
    pub size: u64,
}

/// A binary cache beside those of the swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NixCache {
    /// Its address.
    pub url: String,
    /// The public keys that it signs with, as in `trusted-public-keys`.
    pub keys: Vec<String>,
}

/// An attribute of a Nix profile, evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NixRoot {
    /// The attribute; of a host its name.
    pub attribute: String,
    /// The store path that it evaluates to.
    pub path: String,
    /// Whether it is the system of a host.
    #[serde(default)]
    pub host: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_split_before_its_version_as_nix_does() {
        for (name, family, version) in [
            ("hello-2.12.1", "hello", "2.12.1"),
            ("gtk+-3.24-dev", "gtk+", "3.24-dev"),
            ("source", "source", ""),
            ("python3-requests", "python3-requests", ""),
            ("font-misc-1.1-r2", "font-misc", "1.1-r2"),
            ("trailing-", "trailing-", ""),
            ("a--1", "a", "-1"),
        ] {
            let target = NixTarget {
                name: name.into(),
                drv: None,
                output: "out".into(),
                path: String::new(),
                content_hash: None,
            };
            assert_eq!((target.family(), target.version()), (family, version), "{name}");
        }
    }
}
