//! Packages that install the same paths. Portage refuses to merge the second of them, so a
//! channel offers one of the two only.
//!
//! Which files packages have is the shell's to know. It compares each that arrives with all
//! that are stored, so a pair is known whichever run or profile brings its two together.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{cpv::Cpv, digest::Digest, time::TimeMs};

/// A pair is kept at least this long: one of the two may not have been reported yet.
const KEPT_MS: u64 = 24 * 3600 * 1000;

/// Two stored packages that install the same paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collision {
    /// The two.
    pub artifacts: [Digest; 2],
    /// What both install.
    pub shared: SharedPaths,
}

/// Paths that two packages install.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedPaths {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Vec<String>,
}

impl SharedPaths {
    /// The first paths, and how many more there are.
    #[must_use]
    pub fn words(&self) -> String {
        let more = self.count.saturating_sub(self.first.len() as u64);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", self.first.join(", "))
    }
}

/// Every pair that is known, under both of its artifacts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Collisions(BTreeMap<Digest, BTreeMap<Digest, (TimeMs, SharedPaths)>>);

impl Collisions {
    pub(crate) fn note(&mut self, at: TimeMs, collision: &Collision) {
        let [one, other] = collision.artifacts;
        for (one, other) in [(one, other), (other, one)] {
            self.0.entry(one).or_default().insert(other, (at, collision.shared.clone()));
        }
    }

    /// What cannot be installed beside an artifact.
    pub fn of(&self, artifact: Digest) -> impl Iterator<Item = (Digest, &SharedPaths)> {
        let others = self.0.get(&artifact).into_iter().flatten();
        others.map(|(&other, (_, shared))| (other, shared))
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets pairs of which one is not stored any more.
    pub(crate) fn retain(&mut self, now: TimeMs, stored: &BTreeSet<Digest>) {
        self.0.retain(|one, others| {
            others.retain(|other, (at, _)| {
                now.since(*at) < KEPT_MS || (stored.contains(one) && stored.contains(other))
            });
            !others.is_empty()
        });
    }
}

/// A package that a channel does not offer, as it offers another with the same paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Apart {
    /// What is not offered.
    pub cpv: Cpv,
    /// What is.
    pub beside: Cpv,
    /// The paths of both.
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
