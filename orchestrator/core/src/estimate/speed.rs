//! Learns the speed of drones, separately from the work of the packages they happen to build.
//!
//! An attempt at a package with known work says much about its drone; an attempt at a package never built
//! says almost nothing. A single surprise may be the package's fault: it makes the drone's speed doubtful
//! until its next result. Two surprises in a row, or a surprise while another drone did the same work, are
//! ascribed to the drone.

use serde::{Deserialize, Serialize};

/// Limits of a drone's speed, in thousandths.
const RANGE: std::ops::RangeInclusive<u64> = 16..=256_000;

/// Number of cores of an average drone.
const AVERAGE_CORES: u64 = 4;

/// Assumed speed of a drone that has built nothing yet, in thousandths.
#[must_use]
pub fn from_cores(cores: u32) -> u64 {
    (u64::from(cores.max(1)) * 1000 / AVERAGE_CORES).clamp(*RANGE.start(), *RANGE.end())
}

/// How reliable an attempt is as evidence about its drone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Evidence {
    /// The package's work was a guess.
    Guess,
    /// The package was built before.
    History,
    /// Another drone has just done the same work.
    Rival,
}

/// A smaller difference from the expected duration, in milliseconds, is no surprise, whatever the ratio:
/// short builds consist mostly of setup.
const LEAST_SURPRISE_MS: u64 = 10_000;

/// The current estimate of a drone's speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpeedEstimate {
    pub(crate) permille: u64,
    /// How many results in a row were much slower (negative) or faster (positive) than that.
    pub(crate) surprises: i8,
    /// The speed suggested by the last result in thousandths, if that was much slower than expected;
    /// otherwise 0. It is used until the next result shows whether the package was the cause.
    pub(crate) doubt_permille: u64,
}

impl SpeedEstimate {
    /// The estimate after a build of `work_ms` took `took_ms`.
    #[must_use]
    pub(crate) fn learn(self, evidence: Evidence, work_ms: u64, took_ms: u64) -> Self {
        let believed = self.permille.max(1);
        let seen = (work_ms.saturating_mul(1000) / took_ms.max(1))
            .clamp(believed / 16, believed.saturating_mul(16))
            .clamp(*RANGE.start(), *RANGE.end());
        let toward = |part: u64| {
            let blended = if seen < believed {
                // Average durations rather than speeds, since the cost of a slow drone is its time.
                100 * believed * seen / ((100 - part) * seen + part * believed)
            } else {
                (believed * (100 - part) + seen * part) / 100
            };
            blended.clamp(*RANGE.start(), *RANGE.end())
        };
        let expected_ms = work_ms.saturating_mul(1000) / believed;
        let surprise = match seen {
            seen if 4 * seen > 7 * believed => 1,
            seen if 7 * seen < 4 * believed => -1,
            _ => 0_i8,
        };
        if surprise != 0 && took_ms.abs_diff(expected_ms) < LEAST_SURPRISE_MS {
            return self;
        }
        let (permille, surprises) = match evidence {
            Evidence::Rival => (toward(75), 0),
            Evidence::Guess if surprise == 0 => (toward(1), self.surprises),
            Evidence::Guess => (believed, self.surprises),
            Evidence::History if surprise == 0 => (toward(2), 0),
            Evidence::History if surprise == self.surprises => (toward(60), surprise),
            Evidence::History => (believed, surprise),
        };
        let doubt_permille = match evidence {
            Evidence::Guess => self.doubt_permille,
            Evidence::History if surprise < 0 => seen,
            Evidence::History | Evidence::Rival => 0,
        };
        Self { permille, surprises, doubt_permille }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BELIEF: SpeedEstimate = SpeedEstimate { permille: 1000, surprises: 0, doubt_permille: 0 };

    #[test]
    fn one_freak_result_hardly_moves_a_speed_and_two_alike_do() {
        let once = BELIEF.learn(Evidence::History, 10_000, 80_000);
        assert_eq!(once, SpeedEstimate { permille: 1000, surprises: -1, doubt_permille: 125 });
        let twice = once.learn(Evidence::History, 10_000, 80_000);
        assert!(twice.permille < 250, "{twice:?}");
        let calm = once.learn(Evidence::History, 10_000, 10_500);
        assert_eq!((calm.surprises, calm.doubt_permille), (0, 0));
    }

    #[test]
    fn what_is_short_says_nothing() {
        assert_eq!(BELIEF.learn(Evidence::History, 1_000, 9_000), BELIEF);
        assert_eq!(BELIEF.learn(Evidence::Guess, 9_000, 1), BELIEF);
    }

    #[test]
    fn a_guess_says_little_and_a_rival_much() {
        assert_eq!(BELIEF.learn(Evidence::Guess, 100_000, 1), BELIEF);
        assert_eq!(BELIEF.learn(Evidence::Rival, 10_000, 80_000).permille, 160);
    }

    #[test]
    fn no_figure_of_a_drone_leads_out_of_the_range() {
        for (work, took) in [(0, 0), (1, u64::MAX), (u64::MAX, 1), (u64::MAX, u64::MAX)] {
            let mut state = BELIEF;
            for _ in 0..100 {
                state = state.learn(Evidence::Rival, work, took);
                assert!(RANGE.contains(&state.permille));
            }
        }
    }

    #[test]
    fn processors_hint_at_the_speed() {
        assert_eq!([from_cores(0), from_cores(4), from_cores(32)], [250, 1000, 8000]);
    }
}
