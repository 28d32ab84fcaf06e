//! Requests of an administrator. Every request that changes something takes an `Idempotency-Key`
//! header; a repeat with the same key gets the first response.

use crate::{digest::Digest, id::*, name::Name, state::RunClass};
use serde::{Deserialize, Serialize};

/// `POST /enrol-tokens`: make a token with which one machine may enrol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EnrolTokenRequest {
    /// It works for this long.
    pub valid_ms: u64,
    /// The drone that enrols with it needs no approval.
    #[serde(default)]
    pub approved: bool,
}

/// A fresh enrolment token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolTokenReply {
    /// The token. It is shown once and stored only as a digest.
    pub token: String,
}

/// `POST /runs`: start a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct StartRunRequest {
    /// For which profile.
    pub profile: Name,
    /// How urgent.
    pub class: RunClass,
}

/// A run that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StartRunReply {
    /// Its id.
    pub run: RunId,
}

/// `PUT /profiles/{name}`: make a profile, or pin it to a new snapshot. The snapshot's
/// archive was sent before as `PUT /snapshots/{digest}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ProfileRequest {
    /// What builds it.
    pub builder: BuilderKind,
    /// The pinned content.
    pub snapshot: Digest,
    /// Where the content came from: a directory or a Git commit, for people.
    pub source: String,
    /// The base to build in. Default: the drone's own `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Name>,
    /// When a package is built anew.
    #[serde(default)]
    pub rebuild: Rebuild,
}

/// When a package is built anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Rebuild {
    /// When it is another package by Gentoo's rule: version, USE, dependencies, sources,
    /// patches, or settings that reach the build.
    #[default]
    Gentoo,
    /// When anything changed that it is made from or built with: the text of its ebuild or
    /// an eclass, or a package that it is built with.
    Strict,
}

/// What builds a profile's packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BuilderKind {
    /// Gentoo's Portage.
    Portage,
    /// Nix.
    Nix,
}

/// `POST /packages/{p}/release`: take a package out of quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// What becomes of it.
    pub verdict: Verdict,
}

/// `POST /packages/{p}/rebuild`: have the next run rebuild a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RebuildRequest {
    /// Rebuild the packages of its run that were built with it, too.
    #[serde(default)]
    pub dependants: bool,
    /// Why, in one line; may be empty.
    #[serde(default)]
    pub reason: String,
}

/// Answer to `POST /packages/{p}/rebuild`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RebuildReply {
    /// What is rebuilt, the package itself first.
    pub packages: Vec<PackageId>,
    /// What people call them, in the same order.
    pub titles: Vec<String>,
}

/// What becomes of a package that leaves quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is tried again, with its failures forgotten.
    Retry,
}
