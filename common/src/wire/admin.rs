//! Requests of an admin. Every request that changes something takes an `Idempotency-Key` header; a repeat
//! with the same key gets the first response.

use super::{channel::ChannelName, cpu::CpuNeeds};
use crate::{digest::Digest, id::*, name::Name, state::RunClass};
use serde::{Deserialize, Serialize};

/// `POST /enrol-tokens`: creates a token with which one machine can enrol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolTokenRequest {
    /// Its validity, in milliseconds.
    pub valid_ms: u64,
    /// Whether the drone that enrols with it is approved immediately.
    #[serde(default)]
    pub approved: bool,
}

/// A new enrolment token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolTokenReply {
    /// The token. It is returned once and stored only as a digest.
    pub token: String,
}

/// `POST /runs`: start a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StartRunRequest {
    /// The profile.
    pub profile: Name,
    /// Its priority.
    pub class: RunClass,
}

/// A run that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StartRunReply {
    /// Its id.
    pub run: RunId,
}

/// `PUT /profiles/{name}`: creates a profile or pins it to a new snapshot. Upload the snapshot first
/// with `PUT /snapshots/{digest}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProfileRequest {
    /// The package manager that builds it.
    pub builder: BuilderKind,
    /// The pinned content.
    pub snapshot: Digest,
    /// Source of the content, a directory or Git commit, for display.
    pub source: String,
    /// The base to build in. Default: the drone's own `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Name>,
    /// When its packages are rebuilt.
    #[serde(default)]
    pub rebuild: Rebuild,
    /// The channel that follows its runs.
    #[serde(default, skip_serializing_if = "ChannelName::is_stable")]
    pub publish: ChannelName,
    /// What its packages require of a processor. Drones whose processor lacks some of it get no work for the
    /// profile.
    #[serde(default, skip_serializing_if = "CpuNeeds::is_empty")]
    pub cpu: CpuNeeds,
}

/// `PUT /profiles/{name}/candidate`: has the next run of a Nix profile try other content. The profile switches to
/// it if the run can serve everything that is served now, and otherwise keeps its own. Upload the snapshot first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CandidateRequest {
    /// The content.
    pub snapshot: Digest,
    /// Its source, a directory or Git commit, for display.
    pub source: String,
}

/// `POST /profiles/{name}/candidate/failure`: reports that no candidate could be made. `GET /status` shows it
/// until a later candidate is accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CandidateFailure {
    /// The source, a directory or Git repository.
    pub source: String,
    /// The reason, in one line.
    pub why: String,
}

/// Content that a profile switches to if a run can serve with it everything that is served now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CandidateView {
    /// The content.
    pub snapshot: Digest,
    /// Its source.
    pub source: String,
    /// The run that tries it. If absent, the next run does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
}

/// When its packages are rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Rebuild {
    /// When it differs by Gentoo's rule: in version, USE, dependencies, sources, patches, or settings that
    /// reach the build.
    #[default]
    Gentoo,
    /// When anything that goes into the build has changed: also the text of its ebuild or an eclass, or a
    /// package that it is built with.
    Strict,
}

/// The package manager that builds a profile's packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BuilderKind {
    /// Gentoo's Portage.
    Portage,
    /// Nix.
    Nix,
}

/// `POST /packages/{p}/release`: releases a package from quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReleaseRequest {
    /// What happens to it.
    pub verdict: Verdict,
}

/// `POST /packages/{p}/rebuild`: rebuilds a package in the next run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RebuildRequest {
    /// Whether to rebuild the packages of its run that were built with it, too.
    #[serde(default)]
    pub dependants: bool,
    /// The reason, in one line; may be empty.
    #[serde(default)]
    pub reason: String,
}

/// Response to `POST /packages/{p}/rebuild`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RebuildReply {
    /// The packages to rebuild, starting with the requested one.
    pub packages: Vec<PackageId>,
    /// Their titles, in the same order.
    pub titles: Vec<String>,
}

/// What happens to a package that leaves quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is tried again, with its failures forgotten.
    Retry,
}
