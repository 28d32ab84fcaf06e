//! Packages that were judged to be broken.

use crate::reason::Reason;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use swarm_common::{digest::Digest, id::RunId, time::TimeMs};

/// The maximum number of entries. Beyond that the oldest is forgotten, which costs one attempt.
const MOST: usize = 4096;

/// All quarantined packages, by the digest of their inputs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quarantine(BTreeMap<Digest, Broken>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Broken {
    /// When the package was last judged to be broken.
    pub since: TimeMs,
    pub run: RunId,
    pub reason: Reason,
    /// The signature of the last failure, or the kind of the rejection; empty if there is neither.
    pub signature: String,
    /// The image of the base that the build failed in. Another image may contain what was missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Digest>,
    /// Total time that drones have spent on the package, in milliseconds.
    pub cost_ms: u64,
}

impl Quarantine {
    pub(crate) fn times(&mut self) -> impl Iterator<Item = &mut TimeMs> {
        self.0.values_mut().map(|broken| &mut broken.since)
    }

    #[must_use]
    pub fn get(&self, key: &Digest) -> Option<&Broken> {
        self.0.get(key)
    }

    /// Adds an entry, and drops the oldest if there are too many.
    pub(crate) fn note(&mut self, key: Digest, broken: Broken) {
        self.0.insert(key, broken);
        if self.0.len() > MOST {
            let oldest = self.0.iter().min_by_key(|(_, b)| b.since).map(|(key, _)| *key);
            oldest.and_then(|key| self.0.remove(&key));
        }
    }

    /// Removes an entry: the package was built, or an admin wants it retried.
    pub(crate) fn lift(&mut self, key: &Digest) {
        self.0.remove(key);
    }

    /// Keeps only the entries whose key satisfies `keep`.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Digest) -> bool) {
        self.0.retain(|key, _| keep(key));
    }
}
