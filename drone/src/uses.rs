//! What of a cache is in use, counted, and what of it was looked over since the start.

use std::collections::{BTreeMap, BTreeSet};
use swarm_common::digest::Digest;

/// The uses of what a cache keeps.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    counts: BTreeMap<Digest, usize>,
    checked: BTreeSet<Digest>,
}

impl Uses {
    /// One more uses it.
    pub fn begin(&mut self, key: Digest) {
        *self.counts.entry(key).or_default() += 1;
    }

    /// One less uses it.
    pub fn end(&mut self, key: Digest) {
        if let Some(count) = self.counts.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&key);
            }
        }
    }

    /// Whether anybody uses it.
    pub fn has(&self, key: Digest) -> bool {
        self.counts.contains_key(&key)
    }

    /// It was found to be as it was made.
    pub fn check(&mut self, key: Digest) {
        self.checked.insert(key);
    }

    /// It is gone.
    pub fn forget(&mut self, key: Digest) {
        self.checked.remove(&key);
    }

    /// Whether it was looked over since the start.
    pub fn is_checked(&self, key: Digest) -> bool {
        self.checked.contains(&key)
    }
}
