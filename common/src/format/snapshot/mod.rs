//! Snapshots: the pinned content that every drone of a run builds from, as one archive.
//!
//! The archive is a GNU tar, sent compressed with zstd and named by the SHA-256 of the
//! *uncompressed* tar, so that another compression level is not another snapshot. The
//! same content always gives the same bytes: `snapshot.json` first, then files and
//! symbolic links sorted by path, no directories, owner and time 0, mode 0644 or 0755.
//!
//! | path | content |
//! |---|---|
//! | `snapshot.json` | [`SnapshotManifest`] |
//! | `etc/portage/**` | the configuration; without `repos.conf`, `binrepos.conf` and a linked `make.profile`, which a drone writes itself |
//! | `world` | the world set |
//! | `repos/NAME/**` | each package repository |
//! | `distfiles/**` | sources that cannot be fetched, if any |
//!
//! [`SnapshotContents`] writes one, [`unpack`] and [`verify`] read one. A reader trusts
//! nothing: snapshots come over the network. [`difference`] tells what one has that another one has
//! not, and [`unpack_difference`] makes the one of the other.

mod difference;
mod entries;
mod pack;
mod path;
#[cfg(test)]
mod tests;
mod unpack;

pub use difference::difference;
pub use pack::SnapshotContents;
pub use unpack::{LAYER, OWN, unpack, unpack_difference, verify};

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, io};

/// The only format there is.
pub const FORMAT: u32 = 1;
/// Name of the manifest in the archive.
pub const MANIFEST: &str = "snapshot.json";

/// The uncompressed tar is never larger. A full Gentoo repository has about 0.6 GB.
pub const MAX_BYTES: u64 = 8 << 30;
/// It never has more entries. A full Gentoo repository has about 150,000.
pub const MAX_ENTRIES: u64 = 1_000_000;
/// The manifest is never larger.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// What a snapshot says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotManifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The Portage profile: a path below `profiles/` of a repository, or `None` if it is the
    /// directory `etc/portage/make.profile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portage_profile: Option<String>,
    /// The repository that has the Portage profile, if that is not the main one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_repository: Option<String>,
    /// The main repository's name.
    pub main_repository: String,
    /// Every repository.
    pub repositories: Vec<SnapshotRepository>,
}

/// A repository in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRepository {
    /// Its name, as `profiles/repo_name` has it.
    pub name: String,
    /// The Git commit with exactly this content, if there is one.
    pub commit: Option<String>,
    /// What the bundle's `repos.conf` says of it, of [`REPOSITORY_SETTINGS`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
}

/// The settings of `repos.conf` that decide what Portage builds. All others are about the
/// machine.
pub const REPOSITORY_SETTINGS: [&str; 4] = ["aliases", "eclass-overrides", "masters", "priority"];

impl SnapshotManifest {
    /// Whether it can be built from.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), SnapshotError> {
        let wrong = |what: String| Err(SnapshotError::Manifest(what));
        if self.format != FORMAT {
            return wrong(format!("its format is {}, this version knows {FORMAT}", self.format));
        }
        for repository in &self.repositories {
            if !is_repository_name(&repository.name) {
                return wrong(format!("`{}` is not a repository's name", repository.name.escape_debug()));
            }
            if self.repositories.iter().filter(|other| other.name == repository.name).count() > 1 {
                return wrong(format!("repository `{}` is there twice", repository.name));
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

    /// The Portage profile's directory, relative to the snapshot's.
    #[must_use]
    pub fn profile_path(&self) -> String {
        let Some(profile) = &self.portage_profile else { return OWN_PROFILE.to_owned() };
        let repository = self.profile_repository.as_ref().unwrap_or(&self.main_repository);
        format!("repos/{repository}/profiles/{profile}")
    }
}

/// A Portage profile of the bundle's own, relative to the snapshot's directory.
const OWN_PROFILE: &str = "etc/portage/make.profile";

/// Whether a setting can stand in a `repos.conf` as it is.
#[must_use]
pub fn is_repository_setting(key: &str, value: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_- ".contains(&b);
    let number = || value.parse::<i32>().is_ok();
    REPOSITORY_SETTINGS.contains(&key)
        && value.len() <= 1000
        && value.bytes().all(plain)
        && (key != "priority" || number())
}

/// Whether a text can name a repository (Package Manager Specification, section 3.1.5).
#[must_use]
pub fn is_repository_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    !text.starts_with('-') && !text.is_empty() && text.len() <= 100 && text.bytes().all(inner)
}

/// Why a snapshot cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Reading or writing failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// An entry that no snapshot has.
    #[error("`{path}`: {why}")]
    Entry {
        /// The entry, with everything that is not printable escaped.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// It is larger than a snapshot may be.
    #[error("more than {limit} {what}; is something in it that does not belong there?")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        limit: u64,
    },
    /// The manifest is missing or wrong.
    #[error("the manifest is not usable: {0}")]
    Manifest(String),
    /// The content is not what its name says.
    #[error("the content has the digest {got}, not {expected}; it was damaged or replaced on its way")]
    WrongDigest {
        /// The name.
        expected: crate::digest::Digest,
        /// The content's.
        got: crate::digest::Digest,
    },
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
