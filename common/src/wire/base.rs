//! Bases and the packages that are installed in them for a build.

use super::known;
use crate::{cpv::Cpv, digest::Digest, id::RunId, name::Name, time::TimeMs};
use serde::{Deserialize, Serialize};

/// A root file system to build in: compiler, `@system` and Portage. All attempts of a run use the same
/// one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Base {
    /// The drone's own `/`.
    #[default]
    Host,
    /// An image stored on the orchestrator, and the packages to install on it.
    Image {
        /// The image.
        image: Image,
        /// The packages to install on the image, in this order.
        installed: Vec<Dependency>,
    },
    /// No root file system: a Nix build sees only the store paths that its derivation refers to.
    Nix,
}

/// An artifact to install in a build root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Dependency {
    /// What the file contains.
    pub cpv: Cpv,
    /// Its slot without the sub-slot.
    pub slot: String,
    /// Its build id.
    pub build_id: u32,
    /// Digest of the stored file: `GET /artifacts/{digest}`.
    pub digest: Digest,
    /// Digest of the file as uploaded, by which the drone that built it finds its own copy.
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

    /// The digest of the image that the base consists of. `None` for other kinds of base.
    #[must_use]
    pub fn image(&self) -> Option<Digest> {
        if let Self::Image { image, .. } = self { Some(image.digest) } else { None }
    }
}

/// An image stored on the orchestrator: a root file system as one archive, which drones download with
/// `GET /images/{digest}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Image {
    /// SHA-256 of the uncompressed archive.
    pub digest: Digest,
    /// Size of the compressed archive in bytes.
    pub size: u64,
    /// Approximate size of the unpacked image in bytes.
    pub unpacked_bytes: u64,
    /// Number of files, directories and links.
    pub entries: u64,
    /// The architecture of its programs, such as `x86_64`.
    pub machine: String,
    /// Whether it has `/usr/bin/emerge`.
    pub has_portage: bool,
    /// Which of its directories are links below `/usr`. Missing from older orchestrators.
    #[serde(default, deserialize_with = "known")]
    pub usr: UsrMerge,
}

/// Which directories of a root file system are links to those below `/usr`, so that two paths lead to one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum UsrMerge {
    /// None, or it is unknown.
    #[default]
    Split,
    /// `/bin`, `/sbin` and `/lib*`.
    Merged,
    /// As `merged`, and `/usr/sbin` is a link to `/usr/bin`.
    MergedSbin,
}

impl UsrMerge {
    /// Determines the layout. `leads` tells whether a path, without the leading `/`, is a link to another
    /// one.
    pub fn of(leads: impl Fn(&str, &str) -> bool) -> Self {
        match (leads("bin", "usr/bin"), leads("usr/sbin", "usr/bin")) {
            (false, _) => Self::Split,
            (true, false) => Self::Merged,
            (true, true) => Self::MergedSbin,
        }
    }

    /// Whether nothing is merged, as far as known.
    #[must_use]
    pub fn is_split(&self) -> bool {
        *self == Self::Split
    }
}

/// `PUT /bases/{name}`: creates a base or a new generation. Upload the image first with `PUT
/// /images/{digest}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BaseRequest {
    /// The image.
    pub image: Digest,
    /// Its source, a file or directory, for display.
    pub source: String,
    /// Fingerprint of the OpenPGP key that signed its source, if verified. Later images of the base
    /// must then be signed by the same key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// Whether it follows the tree after runs. Default: unchanged, or true for a new base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<bool>,
}

/// `PUT /bases/{name}/follow`: sets whether a base follows the tree. Repeating `true` retries a failed
/// update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FollowRequest {
    /// Whether it follows the tree.
    pub follow: bool,
}

/// A generation of a base. It lists all packages installed on the image, not only new ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BaseGeneration {
    /// Number of the generation, from 1; never reused.
    pub number: u64,
    /// The image that it starts from.
    pub image: Image,
    /// The packages to install on the image, in this order.
    pub installed: Vec<Dependency>,
    /// Its source, for display.
    pub source: String,
    /// Fingerprint of the OpenPGP key that signed what the image was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// When it was made.
    pub made_at: TimeMs,
    /// The run that it was made from; none if an admin uploaded it.
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

/// A base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BaseView {
    /// Its name.
    pub name: Name,
    /// The kept generations, starting with the one in use.
    pub generations: Vec<BaseGeneration>,
    /// The profiles that use it.
    pub profiles: Vec<Name>,
    /// Whether it follows the tree after runs.
    pub follow: bool,
    /// The update in progress, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub following: Option<BaseFollowing>,
    /// The last failed update, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<BaseFailure>,
}

/// An update of a base to a run, in progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BaseFollowing {
    /// The run.
    pub run: RunId,
    /// Number of packages that the previous generation does not have.
    pub packages: u64,
    /// When the update was requested.
    pub since: TimeMs,
    /// The drone that is making it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drone: Option<Name>,
    /// Why it is retried, if it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A failed update of a base to a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BaseFailure {
    /// The run.
    pub run: RunId,
    /// The reason, in one line.
    pub reason: String,
}

/// State of a base, without its generations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BaseStatus {
    /// Its name.
    pub name: Name,
    /// Number of the generation in use.
    pub generation: u64,
    /// When this generation was made.
    pub made_at: TimeMs,
    /// The run that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The update in progress, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub following: Option<BaseFollowing>,
}
