//! Packages that install the same paths, or of which one installs a file where the other has a
//! directory. Portage refuses to merge the second of them, so a channel offers only one of the two.
//!
//! The shell knows which files a package has. It compares each new package with all stored ones, so
//! a pair is found regardless of the runs or profiles it comes from.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{cpv::Cpv, digest::Digest, time::TimeMs};

/// The shortest time a pair is kept, in milliseconds: one of the two may not have been reported
/// yet.
const KEPT_MS: u64 = 24 * 3600 * 1000;

/// Two stored packages that install the same paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collision {
    /// Digests of the two.
    pub artifacts: [Digest; 2],
    /// The paths that both install.
    pub shared: SharedPaths,
}

/// Paths that two packages install.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedPaths {
    /// Number of paths.
    pub count: u64,
    /// The first few paths.
    pub first: Vec<String>,
}

impl SharedPaths {
    /// The first paths, and the number of further ones.
    #[must_use]
    pub fn words(&self) -> String {
        let more = self.count.saturating_sub(self.first.len() as u64);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", self.first.join(", "))
    }
}

/// All known pairs, listed under both artifacts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Collisions(BTreeMap<Digest, BTreeMap<Digest, (TimeMs, SharedPaths)>>);

impl Collisions {
    pub(crate) fn note(&mut self, at: TimeMs, collision: &Collision) {
        let [one, other] = collision.artifacts;
        for (one, other) in [(one, other), (other, one)] {
            self.0.entry(one).or_default().insert(other, (at, collision.shared.clone()));
        }
    }

    /// The artifacts that cannot be installed beside an artifact.
    pub fn of(&self, artifact: Digest) -> impl Iterator<Item = (Digest, &SharedPaths)> {
        let others = self.0.get(&artifact).into_iter().flatten();
        others.map(|(&other, (_, shared))| (other, shared))
    }

    /// Whether no pair is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets pairs of which one is no longer stored.
    pub(crate) fn retain(&mut self, now: TimeMs, stored: &BTreeSet<Digest>) {
        self.0.retain(|one, others| {
            others.retain(|other, (at, _)| {
                now.since(*at) < KEPT_MS || (stored.contains(one) && stored.contains(other))
            });
            !others.is_empty()
        });
    }
}

/// A package that a channel does not offer because it offers another with the same paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Apart {
    /// The package left out.
    pub cpv: Cpv,
    /// The package offered.
    pub beside: Cpv,
    /// The paths that both install.
    pub shared: SharedPaths,
}

impl Apart {
    /// Both packages and the paths, in one line.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { cpv, beside, shared } = self;
        format!("{cpv} is not published: it and {beside} both install {}", shared.words())
    }
}
