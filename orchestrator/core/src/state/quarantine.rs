//! Packages that were judged to be broken.

use crate::reason::Reason;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use swarm_common::{digest::Digest, id::RunId, time::TimeMs};

/// The maximum number of entries. Beyond that the oldest are forgotten, each of which costs one attempt.
const MOST: usize = 4096;

/// How many are forgotten together, because finding the oldest takes longer than forgetting them.
const AT_ONCE: usize = 256;

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
            let mut ages: Vec<_> = self.0.iter().map(|(key, broken)| (broken.since, *key)).collect();
            ages.select_nth_unstable(AT_ONCE - 1);
            ages.truncate(AT_ONCE);
            ages.iter().for_each(|(_, key)| _ = self.0.remove(key));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_limit_the_oldest_are_forgotten_together() {
        let mut quarantine = Quarantine::default();
        let key = |n: usize| Digest::of(&n.to_le_bytes());
        for n in 0..=MOST {
            let broken = Broken {
                since: TimeMs(n as u64),
                run: RunId(1),
                reason: Reason::Text("x".into()),
                signature: String::new(),
                image: None,
                cost_ms: 0,
            };
            quarantine.note(key(n), broken);
        }
        assert_eq!(quarantine.0.len(), MOST + 1 - AT_ONCE);
        let oldest = quarantine.0.values().map(|broken| broken.since).min();
        assert_eq!(oldest, Some(TimeMs(AT_ONCE as u64)));
        assert!(quarantine.get(&key(MOST)).is_some());
    }
}
