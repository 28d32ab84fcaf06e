//! Packages that cannot be installed together. Portage refuses to merge two packages that install the same
//! paths, or of which one installs a file where the other has a directory. A program does not start beside a
//! version of a library that no longer has the soname it was linked with. Of such a pair a channel offers
//! only one.
//!
//! The shell knows which files and sonames a package has. It compares each new package with all
//! stored ones, so a pair is found regardless of the runs or profiles it comes from.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{
    cpv::Cpv, digest::Digest, id::PackageId, name::Name, time::TimeMs, wire::concern::ConcernKind,
};

/// The minimum time that a pair is kept, in milliseconds: one of the two may not have been reported yet.
const KEPT_MS: u64 = 24 * 3600 * 1000;

/// Two stored packages that cannot be installed together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collision {
    pub artifacts: [Digest; 2],
    /// What prevents the installation, as seen from the first of the two.
    #[serde(rename = "shared")]
    pub conflict: Conflict,
}

/// Why a package cannot be installed beside another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Conflict {
    /// Both packages install these paths.
    Paths(SharedPaths),
    /// The package lacks sonames that other versions of it have and that the other package needs.
    Lost { lost: Vec<String> },
    /// The package needs sonames that other versions of the other package have.
    Needs { needs: Vec<String> },
}

impl Conflict {
    /// The same conflict, as seen from the other package.
    fn of_other(&self) -> Self {
        match self {
            Self::Paths(shared) => Self::Paths(shared.clone()),
            Self::Lost { lost } => Self::Needs { needs: lost.clone() },
            Self::Needs { needs } => Self::Lost { lost: needs.clone() },
        }
    }

    /// Whether the conflict is about sonames, so that rebuilding the package that needs them resolves it.
    #[must_use]
    pub fn is_of_sonames(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Needs { .. })
    }
}

/// Paths that two packages install.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedPaths {
    pub count: u64,
    /// The first few paths.
    pub first: Vec<String>,
}

impl SharedPaths {
    /// The first paths and the number of further ones, as a phrase for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let more = self.count.saturating_sub(self.first.len() as u64);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", self.first.join(", "))
    }
}

/// All known pairs, listed under both artifacts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Collisions(BTreeMap<Digest, BTreeMap<Digest, (TimeMs, Conflict)>>);

impl Collisions {
    pub(crate) fn note(&mut self, at: TimeMs, collision: &Collision) {
        let ([one, other], conflict) = (collision.artifacts, &collision.conflict);
        for (one, other, conflict) in [(one, other, conflict.clone()), (other, one, conflict.of_other())] {
            self.0.entry(one).or_default().insert(other, (at, conflict));
        }
    }

    /// The artifacts that cannot be installed beside an artifact.
    pub fn of(&self, artifact: Digest) -> impl Iterator<Item = (Digest, &Conflict)> {
        let others = self.0.get(&artifact).into_iter().flatten();
        others.map(|(&other, (_, conflict))| (other, conflict))
    }

    /// The first of `others` that lacks a soname which the artifact was linked with.
    #[must_use]
    pub fn lacking(&self, artifact: Digest, others: &BTreeSet<Digest>) -> Option<Digest> {
        let needs = |conflict: &Conflict| matches!(conflict, Conflict::Needs { .. });
        self.of(artifact).find(|(other, conflict)| needs(conflict) && others.contains(other)).map(|(o, _)| o)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets pairs in which one package is no longer stored.
    pub(crate) fn retain(&mut self, now: TimeMs, stored: &BTreeSet<Digest>) {
        self.0.retain(|one, others| {
            others.retain(|other, (at, _)| {
                now.since(*at) < KEPT_MS || (stored.contains(one) && stored.contains(other))
            });
            !others.is_empty()
        });
    }
}

/// A package that a channel does not offer because it cannot be installed beside one that the channel offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusion {
    /// The package that is left out.
    pub cpv: Cpv,
    /// The package that is offered.
    pub beside: Cpv,
    #[serde(rename = "shared")]
    pub conflict: Conflict,
}

impl Exclusion {
    /// Both packages and the reason, in one line.
    #[must_use]
    pub fn describe(&self) -> String {
        let Self { cpv, beside, conflict } = self;
        let why = match conflict {
            Conflict::Paths(shared) => format!("it and {beside} both install {}", shared.describe()),
            Conflict::Lost { lost } => format!("{beside} needs {}, which it no longer has", lost.join(", ")),
            Conflict::Needs { needs } => {
                format!("it needs {}, which {beside} does not have", needs.join(", "))
            }
        };
        format!("{cpv} is not published: {why}")
    }

    /// The concern about this package as the first of several that are left out.
    pub(crate) fn concern(&self, profile: &Name, package: PackageId, others: u64) -> ConcernKind {
        let (mut paths, mut path_count, mut lost, mut needs) = (Vec::new(), 0, Vec::new(), Vec::new());
        match &self.conflict {
            Conflict::Paths(shared) => (paths, path_count) = (shared.first.clone(), shared.count),
            Conflict::Lost { lost: sonames } => lost.clone_from(sonames),
            Conflict::Needs { needs: sonames } => needs.clone_from(sonames),
        }
        let (cpv, beside) = (self.cpv.clone(), self.beside.clone());
        let profile = profile.clone();
        ConcernKind::FilesCollide { profile, package, cpv, beside, paths, path_count, lost, needs, others }
    }
}
