//! How long a package will take: learnt from this swarm's own attempts.
//!
//! Work is measured in milliseconds on a drone of speed 1. A drone's speed is what it
//! took compared with what was predicted, smoothed.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Fixed cost of a package on any drone: build root, dependencies, upload.
pub const OVERHEAD_MS: u64 = 4_000;

/// Predicted work of a package while nothing at all was ever built.
pub const UNKNOWN_MS: u64 = 60_000;

/// Samples kept for each package name.
const KEPT: usize = 5;

/// A drone's speed stays within a factor of 16 of the average, in thousandths.
const SPEED_RANGE: std::ops::RangeInclusive<u64> = 62..=16_000;

/// What past attempts took.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct History {
    /// The last few works of each package name, oldest first.
    samples: BTreeMap<String, Vec<u64>>,
}

impl History {
    /// Notes that `name` took `work_ms`.
    pub fn note(&mut self, name: &str, work_ms: u64) {
        let samples = self.samples.entry(name.to_owned()).or_default();
        samples.push(work_ms.max(1));
        if samples.len() > KEPT {
            samples.remove(0);
        }
    }

    /// The median of what `name` took lately, if it was ever built.
    #[must_use]
    pub fn predict(&self, name: &str) -> Option<u64> {
        median(self.samples.get(name)?)
    }

    /// The median over all names: the guess for a package never built.
    #[must_use]
    pub fn typical(&self) -> Option<u64> {
        let medians: Vec<u64> = self.samples.values().filter_map(|s| median(s)).collect();
        median(&medians)
    }
}

/// The lower median.
fn median(samples: &[u64]) -> Option<u64> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

/// A drone's speed after it did `work_ms` of predicted work in `took_ms`, in
/// thousandths: a quarter of the way from what was believed to what was seen.
#[must_use]
pub fn learn_speed(believed_permille: u64, work_ms: u64, took_ms: u64) -> u64 {
    let seen =
        (work_ms.saturating_mul(1000) / took_ms.max(1)).clamp(*SPEED_RANGE.start(), *SPEED_RANGE.end());
    ((believed_permille * 3 + seen) / 4).clamp(*SPEED_RANGE.start(), *SPEED_RANGE.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prediction_is_the_median_of_the_last_five() {
        let mut history = History::default();
        assert_eq!(history.predict("a/b"), None);
        for work in [9_000, 100, 200, 300, 10_000, 250] {
            history.note("a/b", work);
        }
        assert_eq!(history.predict("a/b"), Some(250));
        assert_eq!(history.typical(), Some(250));
    }

    #[test]
    fn one_freak_result_moves_a_speed_only_a_quarter_of_the_way() {
        assert_eq!(learn_speed(1000, 10_000, 5_000), 1250);
        assert_eq!(learn_speed(1000, 1, u64::MAX), 765);
        assert_eq!(learn_speed(1000, u64::MAX, 0), 4750);
    }
}
