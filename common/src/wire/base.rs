//! Bases and the packages that are installed in them for a build.

use crate::{cpv::Cpv, digest::Digest, id::RunId, name::Name, time::TimeMs};
use serde::{Deserialize, Serialize};

/// A root file system to build in: compiler, `@system` and Portage. Every attempt of a
/// run has the same one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Base {
    /// The drone's own `/`.
    #[default]
    Host,
    /// An image that the orchestrator keeps, and packages that are installed on it.
    Image {
        /// The image.
        image: Image,
        /// What is installed on the image, in this order.
        installed: Vec<Dependency>,
    },
    /// Nothing but the store paths that a derivation names.
    Nix,
}

/// An artifact that is installed where something is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Dependency {
    /// What it is.
    pub cpv: Cpv,
    /// Its slot without the sub-slot.
    pub slot: String,
    /// Its build id.
    pub build_id: u32,
    /// Digest of the stored file: `GET /artifacts/{digest}`.
    pub digest: Digest,
    /// Digest of the file as it was uploaded, by which the drone that built it knows it.
    pub uploaded_digest: Digest,
    /// Size of the stored file in bytes.
    pub size: u64,
}

/// The name of the base that is the drone's own `/`. No other base may have this name.
pub const HOST: &str = "host";

impl Base {
    /// Digest of the content: equal digests mean equal bases.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match self {
            Self::Host => Digest::of(HOST.as_bytes()),
            Self::Nix => Digest::of(b"nix"),
            Self::Image { image, installed } => {
                let all = std::iter::once(&image.digest).chain(installed.iter().map(|d| &d.digest));
                Digest::of(&all.flat_map(|digest| digest.0).collect::<Vec<u8>>())
            }
        }
    }
}

/// An image that the orchestrator keeps: a root file system as one archive, which drones
/// fetch as `GET /images/{digest}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Image {
    /// SHA-256 of the uncompressed archive.
    pub digest: Digest,
    /// Bytes of the compressed one.
    pub size: u64,
    /// About as many bytes are needed to unpack it.
    pub unpacked_bytes: u64,
    /// Files, directories and links in it.
    pub entries: u64,
    /// The architecture of its programs, such as `x86_64`.
    pub machine: String,
    /// Whether it has `/usr/bin/emerge`.
    pub has_portage: bool,
}

/// `PUT /bases/{name}`: make a base, or a new generation of one. The image was sent before
/// as `PUT /images/{digest}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BaseRequest {
    /// The image.
    pub image: Digest,
    /// Where it came from: a file or directory, for people.
    pub source: String,
    /// Fingerprint of the OpenPGP key that signed the file it came from, if that was checked.
    /// A base that has one takes no image without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// Whether it follows the tree after runs. If that is not said it stays as it is, and a new one
    /// does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<bool>,
}

/// `PUT /bases/{name}/follow`: whether a base follows the tree. To say so of one that does tries
/// again what came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FollowRequest {
    /// Whether it does.
    pub follow: bool,
}

/// One state of a base. Each has all that is installed on the image, not only what is new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BaseGeneration {
    /// 1 for the first; never given twice.
    pub number: u64,
    /// What it begins with.
    pub image: Image,
    /// What is installed on the image, in this order.
    pub installed: Vec<Dependency>,
    /// Where it came from, for people.
    pub source: String,
    /// Fingerprint of the OpenPGP key that signed what the image was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// When it was made.
    pub made_at: TimeMs,
    /// The run that it follows; none if an admin sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
}

impl BaseGeneration {
    /// The base as sent to a drone.
    #[must_use]
    pub fn base(&self) -> Base {
        Base::Image { image: self.image.clone(), installed: self.installed.clone() }
    }
}

/// A base as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BaseView {
    /// What it is called.
    pub name: Name,
    /// The generations that are kept, the one in use first.
    pub generations: Vec<BaseGeneration>,
    /// The profiles that build in it.
    pub profiles: Vec<Name>,
    /// Whether it follows the tree after runs.
    pub follow: bool,
    /// What is being installed on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub following: Option<BaseFollowing>,
    /// Why it does not follow a run, if it tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<BaseFailure>,
}

/// A base that is being brought up to what a run built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BaseFollowing {
    /// The run.
    pub run: RunId,
    /// How many packages are installed that its last generation does not have.
    pub packages: u64,
    /// Since when that is wanted.
    pub since: TimeMs,
    /// The drone that makes it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drone: Option<Name>,
    /// Why it is made once more, if it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A base that could not be brought up to what a run built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BaseFailure {
    /// The run.
    pub run: RunId,
    /// Why, in one line.
    pub reason: String,
}

/// Where a base stands, without its generations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BaseStatus {
    /// What it is called.
    pub name: Name,
    /// Number of the generation in use.
    pub generation: u64,
    /// When that was made.
    pub made_at: TimeMs,
    /// The run that it follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// What is being installed on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub following: Option<BaseFollowing>,
}
