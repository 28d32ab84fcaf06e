//! Snapshots: the pinned content that every drone of a run builds from, as one archive.
//!
//! The archive is a GNU tar, compressed with zstd and identified by the SHA-256 of the *uncompressed* tar, so
//! that the compression level does not change its identity. It is reproducible: `snapshot.json` comes first,
//! then files and symbolic links sorted by path. There are no directory entries, owner and time are 0, and
//! the mode is 0644 or 0755.
//!
//! | path | content |
//! |---|---|
//! | `snapshot.json` | [`SnapshotManifest`] |
//! | `etc/portage/**` | the configuration; without `repos.conf`, `binrepos.conf` and a linked `make.profile`, which a drone writes itself |
//! | `world` | the world set |
//! | `repos/NAME/**` | each package repository |
//! | `distfiles/**` | sources that cannot be fetched, if any |
//!
//! A snapshot for Nix has these instead of the configuration and repositories:
//!
//! | path | content |
//! |---|---|
//! | `source/**` | the source: a flake, or files with an expression |
//! | `inputs/NODE/**` | each input of a flake, by its node in `flake.lock`; inputs with relative paths are in
//! the source |
//!
//! [`SnapshotContents`] writes a snapshot; [`unpack()`] and [`verify`] read one. Readers treat their
//! input as untrusted, because snapshots come over the network. [`difference()`] computes the
//! difference between two snapshots, and [`unpack_difference`] applies it.

mod difference;
mod entries;
mod nix;
mod pack;
mod path;
#[cfg(test)]
mod tests;
mod unpack;

pub use difference::difference;
pub use nix::{FLAKE, INPUTS, NixSource, NixUpstream, SOURCE, is_attribute, is_host, is_input};
pub use pack::SnapshotContents;
pub use unpack::{LAYER, OWN, unpack, unpack_difference, verify};

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, io};

/// The format version, the only one so far.
pub const FORMAT: u32 = 1;
/// Name of the manifest in the archive.
pub const MANIFEST: &str = "snapshot.json";

/// The maximum size of the uncompressed tar in bytes. A full Gentoo repository has about 0.6 GB.
pub const MAX_BYTES: u64 = 8 << 30;
/// The maximum number of entries. A full Gentoo repository has about 150,000.
pub const MAX_ENTRIES: u64 = 1_000_000;
/// The maximum size of all paths together in bytes. Readers keep them in memory. A full Gentoo repository has
/// about 10 MB.
pub const MAX_PATH_BYTES: u64 = 64 << 20;
/// The maximum size of the manifest in bytes.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotManifest {
    /// Always [`FORMAT`].
    pub format: u32,
    /// The Portage profile: a path below `profiles/` of a repository. `None` if it is the directory
    /// `etc/portage/make.profile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portage_profile: Option<String>,
    /// The repository with the Portage profile. `None` if it is the main repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_repository: Option<String>,
    /// The name of the main repository. Empty for Nix.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub main_repository: String,
    /// All repositories. Empty for Nix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<SnapshotRepository>,
    /// What Nix builds. `None` for Portage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nix: Option<NixSource>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRepository {
    /// The name in `profiles/repo_name`.
    pub name: String,
    /// The Git commit with exactly this content. `None` if there is none.
    pub commit: Option<String>,
    /// The repository's settings from the bundle's `repos.conf`, limited to [`REPOSITORY_SETTINGS`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
}

/// The settings of `repos.conf` that affect what Portage builds. All others are specific to a machine.
pub const REPOSITORY_SETTINGS: [&str; 4] = ["aliases", "eclass-overrides", "masters", "priority"];

impl SnapshotManifest {
    /// Checks that the manifest is usable.
    ///
    /// # Errors
    /// A description of what is wrong.
    pub fn check(&self) -> Result<(), SnapshotError> {
        let wrong = |what: String| Err(SnapshotError::Manifest(what));
        if self.format != FORMAT {
            return wrong(format!("its format is {}, this version knows {FORMAT}", self.format));
        }
        if let Some(nix) = &self.nix {
            let Self {
                portage_profile: None, profile_repository: None, main_repository, repositories, ..
            } = self
            else {
                return wrong("it has a Portage profile and something for Nix".to_owned());
            };
            return match main_repository.is_empty() && repositories.is_empty() {
                true => nix.check().or_else(wrong),
                false => wrong("it has repositories and something for Nix".to_owned()),
            };
        }
        for repository in &self.repositories {
            if !is_repository_name(&repository.name) {
                return wrong(format!("`{}` is not a repository's name", repository.name.escape_debug()));
            }
            if self.repositories.iter().filter(|other| other.name == repository.name).count() > 1 {
                return wrong(format!("repository `{}` occurs twice", repository.name));
            }
            for (key, value) in &repository.settings {
                if !is_repository_setting(key, value) {
                    let (key, value) = (key.escape_debug(), value.escape_debug());
                    return wrong(format!(
                        "repository `{}` has the setting `{key} = {value}`",
                        repository.name
                    ));
                }
            }
        }
        if !self.repositories.iter().any(|repository| repository.name == self.main_repository) {
            return wrong(format!(
                "the main repository `{}` is not in it",
                self.main_repository.escape_debug()
            ));
        }
        if let Some(name) = &self.profile_repository
            && !self.repositories.iter().any(|repository| repository.name == *name)
        {
            return wrong(format!("the Portage profile's repository `{}` is not in it", name.escape_debug()));
        }
        path::check_path(&self.profile_path())
            .or_else(|why| wrong(format!("the Portage profile's path is not usable: {why}")))
    }

    /// Checks that everything the manifest promises is among the snapshot's paths and, for Nix, that nothing
    /// else is.
    pub(super) fn check_paths<'p>(
        &self,
        mut paths: impl Iterator<Item = &'p String> + Clone,
    ) -> Result<(), SnapshotError> {
        let Some(nix) = &self.nix else {
            let profile = self.profile_path();
            let below = format!("{profile}/");
            return match paths.any(|path| path.starts_with(&below)) {
                true => Ok(()),
                false => Err(SnapshotError::Manifest(format!("its Portage profile {profile} is not in it"))),
            };
        };
        if let Some(path) = paths.clone().find(|path| *path != MANIFEST && !nix::is_nix_path(path)) {
            return Err(SnapshotError::entry(
                path,
                format!("is neither below {SOURCE} nor below {INPUTS}/NAME"),
            ));
        }
        let file = nix.path();
        match paths.any(|path| *path == file) {
            true => Ok(()),
            false => Err(SnapshotError::Manifest(format!("{file} is not in it"))),
        }
    }

    /// The directory of the Portage profile, relative to the snapshot's directory.
    #[must_use]
    pub fn profile_path(&self) -> String {
        let Some(profile) = &self.portage_profile else { return OWN_PROFILE.to_owned() };
        let repository = self.profile_repository.as_ref().unwrap_or(&self.main_repository);
        format!("repos/{repository}/profiles/{profile}")
    }
}

/// The directory of the bundle's own Portage profile, relative to the snapshot's directory.
const OWN_PROFILE: &str = "etc/portage/make.profile";

/// Whether a setting can be written to a `repos.conf` without escaping.
#[must_use]
pub fn is_repository_setting(key: &str, value: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_- ".contains(&b);
    let number = || value.parse::<i32>().is_ok();
    REPOSITORY_SETTINGS.contains(&key)
        && value.len() <= 1000
        && value.bytes().all(plain)
        && (key != "priority" || number())
}

/// Whether the text is a valid repository name (Package Manager Specification, section 3.1.5).
#[must_use]
pub fn is_repository_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    !text.starts_with('-') && !text.is_empty() && text.len() <= 100 && text.bytes().all(inner)
}

/// Why a snapshot cannot be created or used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        source: io::Error,
    },
    /// An entry is not allowed in a snapshot.
    #[error("`{path}`: {why}")]
    Entry {
        /// The entry's path, with non-printable characters escaped.
        path: String,
        why: String,
    },
    #[error("more than {limit} {what}; is something in it that does not belong there?")]
    TooLarge { what: &'static str, limit: u64 },
    /// The manifest is missing or invalid.
    #[error("the manifest is not usable: {0}")]
    Manifest(String),
    /// The content does not match its digest.
    #[error("the content has the digest {got}, not {expected}; it was damaged or replaced on its way")]
    WrongDigest { expected: swarm_common::digest::Digest, got: swarm_common::digest::Digest },
}

impl SnapshotError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    fn entry(path: &str, why: impl Into<String>) -> Self {
        Self::Entry {
            path: path.chars().take(200).collect::<String>().escape_debug().to_string(),
            why: why.into(),
        }
    }
}
