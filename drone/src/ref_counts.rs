//! Reference counts of cache entries, and which entries were verified since the start.

use std::collections::{BTreeMap, BTreeSet};
use swarm_common::digest::Digest;

#[derive(Debug, Default)]
pub(crate) struct RefCounts {
    counts: BTreeMap<Digest, usize>,
    checked: BTreeSet<Digest>,
}

impl RefCounts {
    pub fn begin(&mut self, key: Digest) {
        *self.counts.entry(key).or_default() += 1;
    }

    pub fn end(&mut self, key: Digest) {
        if let Some(count) = self.counts.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&key);
            }
        }
    }

    pub fn has(&self, key: Digest) -> bool {
        self.counts.contains_key(&key)
    }

    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Marks the entry as verified.
    pub fn check(&mut self, key: Digest) {
        self.checked.insert(key);
    }

    /// Clears the mark, because the entry was removed.
    pub fn forget(&mut self, key: Digest) {
        self.checked.remove(&key);
    }

    /// Whether the entry was verified since the start.
    pub fn is_checked(&self, key: Digest) -> bool {
        self.checked.contains(&key)
    }
}
