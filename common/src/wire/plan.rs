//! The dependency graph that a plan attempt returns.

use super::nix::{DerivationArchive, NixPackage, NixRoot};
use crate::{cpv::Cpv, digest::Digest};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The resolver's report on a profile's world set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanReport {
    /// Every package of the plan; edges and cycles refer to them by position.
    pub packages: Vec<PlanPackage>,
    /// Dependencies between the packages.
    pub edges: Vec<PlanEdge>,
    /// Cycles the resolver reported, each with the stages that build it.
    pub cycles: Vec<PlanCycle>,
    /// What the resolver rejected. The rest of the plan is still built.
    pub problems: Vec<PlanProblem>,
    /// Digest of what every package of the profile is built with: CHOST, compiler
    /// version, libc, flags.
    pub toolchain: Digest,
    /// Inputs that all packages share, by name: the base's ABI and the common environment. A package's
    /// own `fields` are added to them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// The toolchain of the packages. Missing from older drones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built_with: Option<Box<Toolchain>>,
    /// The sonames that the base's packages provide, by multilib category such as `x86_64`. Empty from
    /// older drones and for bases with unknown packages.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub base_provides: Box<BTreeMap<String, BTreeSet<String>>>,
    /// For Nix: the evaluated attributes of the profile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<NixRoot>,
    /// For Nix: the store paths that the planned derivations need and that are not planned, because an upstream cache
    /// has them. The orchestrator asks the caches itself and does not keep the list. Missing from older drones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub available: Vec<String>,
    /// For Nix: the archive of the derivations, which the drone has uploaded. Without it, as from older drones,
    /// every drone evaluates the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derivations: Option<Box<DerivationArchive>>,
}

impl PlanReport {
    /// A plan without packages, for this toolchain.
    #[must_use]
    pub fn empty(toolchain: Digest) -> Self {
        Self {
            packages: Vec::new(),
            edges: Vec::new(),
            cycles: Vec::new(),
            problems: Vec::new(),
            toolchain,
            settings: BTreeMap::new(),
            built_with: None,
            base_provides: Box::default(),
            roots: Vec::new(),
            available: Vec::new(),
            derivations: None,
        }
    }
}

fn is_empty(provides: &BTreeMap<String, BTreeSet<String>>) -> bool {
    provides.is_empty()
}

/// The toolchain that packages are built with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Toolchain {
    /// The machine triple that the compiler builds for.
    pub chost: String,
    /// The compiler and its version: `gcc 15.2.0`.
    pub compiler: String,
    /// The C library and its version: `glibc 2.41`.
    pub libc: String,
    /// Version of binutils.
    pub binutils: String,
    /// Version of bash.
    pub bash: String,
    /// Version of Portage.
    pub portage: String,
    /// Processor level such as `x86-64-v3`. For a plan, the level that its packages are compiled for;
    /// for a drone, that of its machine. Empty if there is none.
    pub cpu: String,
}

/// The maximum length of a drone's description of one program, in characters.
const LONGEST_PROGRAM: usize = 128;

impl Toolchain {
    /// The first program that differs from `other`: its name and both versions. Values missing on
    /// either side are ignored, and the processor level is not compared.
    #[must_use]
    pub fn difference<'t>(&'t self, other: &'t Self) -> Option<(&'static str, &'t str, &'t str)> {
        let programs = [
            ("machine triple", &self.chost, &other.chost),
            ("compiler", &self.compiler, &other.compiler),
            ("C library", &self.libc, &other.libc),
            ("binutils", &self.binutils, &other.binutils),
            ("bash", &self.bash, &other.bash),
            ("Portage", &self.portage, &other.portage),
        ];
        let mut found = programs.into_iter().filter(|(_, a, b)| !a.is_empty() && !b.is_empty() && a != b);
        found.next().map(|(name, a, b)| (name, a.as_str(), b.as_str()))
    }

    /// Whether the values are within the limits for drone reports.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        let Self { chost, compiler, libc, binutils, bash, portage, cpu } = self;
        [chost, compiler, libc, binutils, bash, portage, cpu].iter().all(|text| text.len() <= LONGEST_PROGRAM)
    }
}

/// One package of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum PlanPackage {
    /// A Portage package.
    Portage(Box<PortagePackage>),
    /// A derivation or a source.
    Nix(NixPackage),
}

impl PlanPackage {
    /// The name for people, with the version.
    #[must_use]
    pub fn title(&self) -> &str {
        match self {
            Self::Portage(package) => package.cpv.as_str(),
            Self::Nix(package) => &package.name,
        }
    }

    #[must_use]
    pub fn portage(&self) -> Option<&PortagePackage> {
        match self {
            Self::Portage(package) => Some(package),
            Self::Nix(_) => None,
        }
    }

    pub fn portage_mut(&mut self) -> Option<&mut PortagePackage> {
        match self {
            Self::Portage(package) => Some(package),
            Self::Nix(_) => None,
        }
    }

    #[must_use]
    pub fn nix(&self) -> Option<&NixPackage> {
        match self {
            Self::Portage(_) => None,
            Self::Nix(package) => Some(package),
        }
    }
}

impl From<PortagePackage> for PlanPackage {
    fn from(package: PortagePackage) -> Self {
        Self::Portage(Box::new(package))
    }
}

/// A Portage package in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PortagePackage {
    /// What the file contains.
    pub cpv: Cpv,
    /// Its slot without the sub-slot.
    pub slot: String,
    /// Its sub-slot; equal to the slot if the ebuild sets none.
    pub subslot: String,
    /// The repository it comes from.
    pub repository: String,
    /// Enabled USE flags out of `iuse`, sorted.
    pub use_flags: Vec<String>,
    /// All USE flags of the ebuild, sorted, without `+` and `-`.
    pub iuse: Vec<String>,
    /// The machine triple it is built for.
    pub chost: String,
    /// Digest of the ebuild, its eclasses, its files and the settings it is built with.
    pub inputs: Digest,
    /// Inputs that cause a rebuild by Gentoo's rule, by name: each value, or its digest if it is long.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
    /// Other inputs: ebuild, eclasses, files.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub strict: BTreeMap<String, String>,
    /// Set if it is a live ebuild (`PROPERTIES=live`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Live>,
    /// Whether the base has a package of this name, in any version and slot.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_base: bool,
}

/// State of the sources of a live ebuild.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Live {
    /// Commit of its upstream when the plan was made, if it could be queried.
    pub commit: Option<String>,
}

/// `from` depends on `to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanEdge {
    /// Position of the dependant.
    pub from: u32,
    /// Position of the dependency.
    pub to: u32,
    /// `to` must be installed while `from` is built (DEPEND, BDEPEND).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub build: bool,
    /// `to` must be installed for `from` to work (RDEPEND, PDEPEND, IDEPEND).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub runtime: bool,
    /// Whether `from` is bound to the slot and sub-slot of `to` (`:=`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub slot_operator: bool,
    /// The base root of the plan has something installed that already satisfies this edge.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub satisfied: bool,
}

/// Packages that depend on each other. One drone builds them together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanCycle {
    /// Positions of the members.
    pub members: Vec<u32>,
    /// What to build, in this order. The last stage of a member builds what is published.
    pub stages: Vec<PlanStage>,
}

/// One step of building a cycle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanStage {
    /// Position of the member to build.
    pub package: u32,
    /// USE changes for this step only, such as `-shaper`.
    pub use_changes: Vec<String>,
}

/// A rejection by the resolver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanProblem {
    /// Kind of rejection.
    pub kind: ProblemKind,
    /// The atoms concerned; those of the world set were left out of the plan.
    pub atoms: Vec<String>,
    /// The resolver's message; for a conflict, both sides and the packages that require them.
    pub message: String,
    /// The change that the resolver suggests, if any. Each line has a file of `etc/portage`, a colon
    /// and the line to add. All lines are needed.
    pub suggestion: Option<String>,
}

/// Kinds of rejections by the resolver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// A USE flag would have to change.
    UseChange,
    /// A keyword would have to be accepted.
    Keyword,
    /// A licence would have to be accepted.
    License,
    /// A mask would have to be lifted.
    Mask,
    /// Two packages want the same slot.
    SlotConflict,
    /// Nothing satisfies an atom.
    Unsatisfied,
    /// A cycle that no USE change breaks.
    Circular,
    /// An attribute that Nix cannot evaluate.
    Evaluation,
    /// Anything else; the message says what.
    Other,
}
