//! The channels of profiles and their generations.

use crate::{digest::Digest, id::RunId, name::Name, time::TimeMs};
use serde::{Deserialize, Serialize};

/// A channel of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ChannelName {
    /// What its workstations install from.
    #[default]
    Stable,
    /// What its runs built, for a few machines that try it before it is promoted to stable.
    Staging,
}

impl ChannelName {
    pub const ALL: [Self; 2] = [Self::Stable, Self::Staging];

    /// The word used in JSON and in the path of the staging channel.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Staging => "staging",
        }
    }

    /// The address of this channel within the binary package host or cache at `address`.
    #[must_use]
    pub fn within(self, address: &str) -> String {
        if self.is_stable() { address.to_owned() } else { format!("{address}/{self}") }
    }

    /// Whether this is the default channel, which JSON leaves out.
    #[must_use]
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub const fn is_stable(&self) -> bool {
        matches!(self, Self::Stable)
    }
}

impl std::fmt::Display for ChannelName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word())
    }
}

/// The channels of a profile. Unless said otherwise, a field is about the stable one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChannelView {
    /// The profile.
    pub profile: Name,
    /// Number of the generation that clients see; 0 before the first. A newer one is published within seconds.
    pub generation: u64,
    /// Whether it stays at its generation, after a rollback, until it is promoted.
    pub held: bool,
    /// What a promotion would publish, if that differs from the current generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<StagedView>,
    /// The kept generations, starting with the current one.
    pub generations: Vec<GenerationView>,
    /// The channel that follows the runs of the profile.
    #[serde(default)]
    pub publish: ChannelName,
    /// The staging channel, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staging: Option<StagingView>,
}

/// The staging channel of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StagingView {
    /// Number of the generation that clients see; 0 before the first.
    pub generation: u64,
    /// The kept generations, starting with the current one. The stable channel never uses the same numbers.
    pub generations: Vec<GenerationView>,
}

/// What the newest runs of a profile lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StagedView {
    /// The newest of these runs.
    pub run: RunId,
    /// Number of packages; for Nix, of store paths.
    pub packages: u64,
    /// The generation of the staging channel that has them, if the profile publishes there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// A generation of a staging channel that has not been promoted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StagedStatus {
    /// The profile.
    pub profile: Name,
    /// Number of the generation.
    pub generation: u64,
    /// The run that its content comes from.
    pub run: RunId,
    /// Number of packages in it; for Nix, of store paths.
    pub packages: u64,
}

/// A generation of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GenerationView {
    /// Its number; never reused.
    pub number: u64,
    /// The run that its content comes from.
    pub run: RunId,
    /// When it was made.
    pub made_at: TimeMs,
    /// The earlier generation whose content it has, if it is a rollback or was promoted from staging.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub like: Option<u64>,
    /// Number of packages in it; for Nix, of store paths.
    pub packages: u64,
    /// How many of them the previous generation does not have; absent if that is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added: Option<u64>,
    /// How many packages of the previous generation this one does not have; absent if that is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<u64>,
    /// If it is pinned, so that it is kept however many others follow: the admin's note, which may be empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
}

/// What a generation contains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GenerationContents {
    /// The profile.
    pub profile: Name,
    /// The generation.
    pub generation: GenerationView,
    /// Its packages by name and version; for Nix, its store paths.
    pub packages: Vec<PublishedPackage>,
}

/// A package in a generation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PublishedPackage {
    /// Its name without the version: `dev-libs/icu`, `hello`.
    pub name: String,
    /// Its version; empty if it has none.
    pub version: String,
    /// What it is published as: the path of its file in the channel, or its store path.
    pub path: String,
    /// Digest of the published file.
    pub digest: Digest,
    /// Size of the published file in bytes.
    pub size: u64,
}

/// `POST /channels/{name}/promote`: publishes what was built in the stable channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PromoteRequest {
    /// Number of a generation of the staging channel [default: its current one].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// `POST /channels/{name}/rollback`: gives the channel the content of an earlier generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// Number of that generation [default: the last one with other content].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// `PUT /channels/{name}/generations/{number}/pin`: keeps a generation of the stable channel until it is unpinned.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PinRequest {
    /// Why, in one line of at most 200 characters; it replaces the note of an earlier pin [default: none].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}
