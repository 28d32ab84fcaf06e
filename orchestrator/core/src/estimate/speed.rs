//! A drone's speed, told apart from the packages it happened to build.
//!
//! One attempt at a package whose work is known says much of its drone, one at a package
//! never built nearly nothing. A single surprise may be the package's; two in a row, or
//! another drone that did the very same work in the meantime, are the drone's.

use serde::{Deserialize, Serialize};

/// A drone's speed stays within these, in thousandths.
const RANGE: std::ops::RangeInclusive<u64> = 16..=256_000;

/// Processors that make an average drone.
const AVERAGE_CORES: u64 = 4;

/// The speed of a drone that has built nothing yet, in thousandths.
#[must_use]
pub fn from_cores(cores: u32) -> u64 {
    (u64::from(cores.max(1)) * 1000 / AVERAGE_CORES).clamp(*RANGE.start(), *RANGE.end())
}

/// How much an attempt says of its drone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Evidence {
    /// The package's work was a guess.
    Guess,
    /// The package was built before.
    History,
    /// Another drone has done the same work in the same hour.
    Rival,
}

/// What is believed of a drone after it did `work_ms` in `took_ms`: its speed, and how
/// many times in a row it was much slower (negative) or faster than believed.
#[must_use]
pub(crate) fn learn(
    (speed_permille, surprises): (u64, i8),
    evidence: Evidence,
    work_ms: u64,
    took_ms: u64,
) -> (u64, i8) {
    let seen = (work_ms.saturating_mul(1000) / took_ms.max(1))
        .clamp(speed_permille / 16, speed_permille * 16)
        .clamp(*RANGE.start(), *RANGE.end());
    let toward = |part: u64| {
        let blended = (speed_permille * (100 - part) + seen * part) / 100;
        blended.clamp(*RANGE.start(), *RANGE.end())
    };
    let surprise = match (seen, speed_permille) {
        (seen, believed) if seen > 2 * believed => 1,
        (seen, believed) if 2 * seen < believed => -1,
        _ => 0_i8,
    };
    match evidence {
        Evidence::Rival => (toward(75), 0),
        // The geometric middle would be right; this leans to neither side enough to matter.
        Evidence::Guess if surprise == 0 => (toward(1), surprises),
        Evidence::Guess => (speed_permille, surprises),
        Evidence::History if surprise == 0 => (toward(2), 0),
        Evidence::History if surprise.signum() == surprises.signum() => (toward(60), surprise),
        Evidence::History => (toward(2), surprise),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_freak_result_hardly_moves_a_speed_and_two_alike_do() {
        let once = learn((1000, 0), Evidence::History, 10_000, 80_000);
        assert_eq!(once, (982, -1));
        let (twice, _) = learn(once, Evidence::History, 10_000, 80_000);
        assert!(twice < 500, "{twice}");
        assert_eq!(learn(once, Evidence::History, 10_000, 10_500).1, 0);
    }

    #[test]
    fn a_guess_says_little_and_a_rival_much() {
        assert_eq!(learn((1000, 0), Evidence::Guess, 10_000, 1), (1000, 0));
        assert_eq!(learn((1000, 0), Evidence::Rival, 10_000, 80_000), (343, 0));
    }

    #[test]
    fn no_figure_of_a_drone_leads_out_of_the_range() {
        for (work, took) in [(0, 0), (1, u64::MAX), (u64::MAX, 1), (u64::MAX, u64::MAX)] {
            let mut state = (1000, 0);
            for _ in 0..100 {
                state = learn(state, Evidence::Rival, work, took);
                assert!(RANGE.contains(&state.0));
            }
        }
    }

    #[test]
    fn processors_hint_at_the_speed() {
        assert_eq!([from_cores(0), from_cores(4), from_cores(32)], [250, 1000, 8000]);
    }
}
