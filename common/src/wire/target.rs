//! The files that a build must return, one for each Portage package or Nix output.

use super::{admin::BuilderKind, nix::NixTarget};
use crate::cpv::Cpv;
use serde::{Deserialize, Serialize};

/// A file to build. The orchestrator rejects any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum Target {
    /// A Portage binary package.
    Portage(PortageTarget),
    /// An output of a derivation, or a source.
    Nix(NixTarget),
}

/// A Portage binary package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PortageTarget {
    /// What the file contains.
    pub cpv: Cpv,
    /// Its slot without the sub-slot.
    pub slot: String,
    /// Its sub-slot.
    pub subslot: String,
    /// Its repository.
    pub repository: String,
    /// Enabled USE flags, sorted.
    pub use_flags: Vec<String>,
    /// Known USE flags, sorted.
    pub iuse: Vec<String>,
    /// Machine triple.
    pub chost: String,
    /// The build id to give it. Unique for each attempt at a version in a profile, so a
    /// published path never changes its bytes.
    pub build_id: u32,
}

impl PortageTarget {
    /// The path in the binary package host, such as `dev-libs/icu/icu-75.1-2.gpkg.tar`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}-{}.gpkg.tar", self.cpv.cp(), self.cpv.pf(), self.build_id)
    }
}

impl Target {
    /// The kind of builder that builds the target.
    #[must_use]
    pub fn builder(&self) -> BuilderKind {
        match self {
            Self::Portage(_) => BuilderKind::Portage,
            Self::Nix(_) => BuilderKind::Nix,
        }
    }

    /// The name for people, with the version: `dev-libs/icu-75.1-r2`, `hello-2.12.1`.
    #[must_use]
    pub fn title(&self) -> &str {
        match self {
            Self::Portage(target) => target.cpv.as_str(),
            Self::Nix(target) => &target.name,
        }
    }

    /// What distinguishes the target from others of the same build: name and version, or the store path.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Portage(target) => target.cpv.as_str(),
            Self::Nix(target) => &target.path,
        }
    }

    /// The name without the version: `dev-libs/icu`, `hello`.
    #[must_use]
    pub fn family(&self) -> &str {
        match self {
            Self::Portage(target) => target.cpv.cp(),
            Self::Nix(target) => target.family(),
        }
    }

    /// The version: `75.1-r2`. Empty if it has none.
    #[must_use]
    pub fn version(&self) -> &str {
        match self {
            Self::Portage(target) => target.cpv.version(),
            Self::Nix(target) => target.version(),
        }
    }

    /// Whether an admin's `query` matches the target.
    #[must_use]
    pub fn is_meant_by(&self, query: &str) -> bool {
        match self {
            Self::Portage(target) => {
                let cpv = &target.cpv;
                [cpv.as_str(), cpv.cp(), cpv.pn(), cpv.pf()].contains(&query)
            }
            Self::Nix(target) => {
                [target.name.as_str(), target.family(), &target.path].contains(&query)
                    || target.drv.as_deref() == Some(query)
            }
        }
    }

    #[must_use]
    pub fn portage(&self) -> Option<&PortageTarget> {
        match self {
            Self::Portage(target) => Some(target),
            Self::Nix(_) => None,
        }
    }

    #[must_use]
    pub fn nix(&self) -> Option<&NixTarget> {
        match self {
            Self::Portage(_) => None,
            Self::Nix(target) => Some(target),
        }
    }

    /// The target with this build id. Nix outputs have none and stay as they are.
    #[must_use]
    pub fn with_build_id(mut self, build_id: u32) -> Self {
        if let Self::Portage(target) = &mut self {
            target.build_id = build_id;
        }
        self
    }
}

impl From<PortageTarget> for Target {
    fn from(target: PortageTarget) -> Self {
        Self::Portage(target)
    }
}

impl From<NixTarget> for Target {
    fn from(target: NixTarget) -> Self {
        Self::Nix(target)
    }
}
