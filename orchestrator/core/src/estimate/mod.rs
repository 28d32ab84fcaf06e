//! Predicts how long a package will take, from past attempts in the same swarm.
//!
//! Work is measured in milliseconds on a drone of speed 1. The duration of an attempt depends on both the
//! package and the drone; [`speed`] separates the two. The work of packages never built is estimated from
//! that of others.

mod guess;
mod sharing;
mod speed;
mod version;

pub use guess::Guess;
use serde::{Deserialize, Serialize};
pub use sharing::{lost_ms, stretch_permille};
pub(crate) use speed::SpeedEstimate;
pub use speed::{Evidence, from_cores};
use std::collections::BTreeMap;

/// Assumed setup time (build root, dependencies) of a drone until it is measured, in milliseconds.
pub const SETUP_MS: u64 = 3_000;

/// Assumed upload time of a package until it is measured, in milliseconds.
pub const UPLOAD_MS: u64 = 1_000;

/// Number of recent builds kept for each package name.
const KEPT: usize = 8;

/// The measurements of a successful build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Sample {
    version: String,
    work_ms: u64,
    /// Peak memory of the build and number of cores of its drone, since parallel jobs use memory in
    /// proportion to the cores.
    peak_bytes: u64,
    cores: u32,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct History {
    /// The last few builds of each package name, oldest first.
    samples: BTreeMap<String, Vec<Sample>>,
    /// Estimates for packages never built.
    pub guess: Guess,
}

/// The predicted cost of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prediction {
    /// Work in milliseconds at speed 1.
    pub work_ms: u64,
    /// Whether the work is a guess because the package was never built.
    pub guessed: bool,
    /// The highest peak memory of a build in bytes (0 if unknown), and the number of cores of the drone where
    /// it was measured.
    pub peak: (u64, u32),
}

impl History {
    /// Records that `name` took `work_ms`, and its peak memory in bytes with the number of cores.
    pub fn note(&mut self, name: &str, version: &str, work_ms: u64, peak: (u64, u32)) {
        let samples = self.samples.entry(name.to_owned()).or_default();
        let (peak_bytes, cores) = peak;
        samples.push(Sample { version: version.to_owned(), work_ms: work_ms.max(1), peak_bytes, cores });
        if samples.len() > KEPT {
            samples.remove(0);
        }
    }

    /// Predicts this version of `name`: the median over the versions nearest to it. A package never
    /// built is estimated from its category and its number of build dependencies.
    #[must_use]
    pub fn predict(&self, name: &str, version: &str, needs: usize) -> Prediction {
        let Some(samples) = self.samples.get(name) else {
            return Prediction { work_ms: self.guess.work_ms(name, needs), guessed: true, peak: (0, 0) };
        };
        let distance = |s: &Sample| version::distance(&s.version, version);
        let nearest = samples.iter().map(distance).min();
        let near = samples.iter().filter(|s| Some(distance(s)) == nearest);
        let work_ms = median(near.map(|s| s.work_ms)).unwrap_or(1);
        let peak = samples.iter().map(|s| (s.peak_bytes, s.cores)).max().unwrap_or((0, 0));
        Prediction { work_ms, guessed: false, peak }
    }
}

/// The lower median. `None` without samples.
fn median(samples: impl IntoIterator<Item = u64>) -> Option<u64> {
    let mut sorted: Vec<u64> = samples.into_iter().collect();
    sorted.sort_unstable();
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

/// Updates an estimate with a measurement: the estimate moves by a quarter of the difference, and a
/// measurement counts as at most four times the estimate plus one second.
#[must_use]
pub fn smooth(believed_ms: u64, seen_ms: u64) -> u64 {
    (believed_ms * 3 + seen_ms.min(believed_ms.saturating_mul(4) + 1_000)) / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prediction_is_the_median_of_the_nearest_versions() {
        let mut history = History::default();
        assert!(history.predict("a/b", "1", 0).guessed);
        for (version, work) in [("1.0", 900), ("2.0", 100), ("2.0", 120), ("2.0", 9_000), ("2.1", 200)] {
            history.note("a/b", version, work, (0, 1));
        }
        let work = |version| history.predict("a/b", version, 0).work_ms;
        assert_eq!(work("2.0"), 120);
        assert_eq!(work("2.1"), 200);
        assert_eq!(work("1.0-r1"), 900);
        assert_eq!(work("2.2"), 120);
    }

    #[test]
    fn old_builds_are_forgotten() {
        let mut history = History::default();
        for work in [9_000; KEPT].into_iter().chain([10; KEPT]) {
            history.note("a/b", "1", work, (work, 4));
        }
        let prediction = history.predict("a/b", "1", 0);
        assert_eq!((prediction.work_ms, prediction.peak), (10, (10, 4)));
    }

    #[test]
    fn one_freak_measurement_moves_a_cost_little() {
        assert_eq!(smooth(4_000, 8_000), 5_000);
        assert_eq!(smooth(4_000, u64::MAX), 7_250);
        assert_eq!(smooth(0, 0), 0);
    }
}
