//! A model of how builds on one machine slow each other down.
//!
//! A build leaves much of a machine idle (configure, link, install), which a neighbour can use; while both
//! compile, they share it. Each neighbour is assumed to make a build take 40 % longer, so two builds together
//! do 1.4 times the work of one, and four do 1.8 times.

/// By how much each neighbour prolongs a build, in thousandths.
const NEIGHBOUR_PERMILLE: u64 = 400;

/// Duration of a build while `builds` builds, including itself, run on its machine, in thousandths
/// of its duration alone.
#[must_use]
pub fn stretch_permille(builds: usize) -> u64 {
    1000 + NEIGHBOUR_PERMILLE * (builds.clamp(1, 64) as u64 - 1)
}

/// Milliseconds that a build loses to neighbours in `elapsed_ms`, while `builds` builds run.
#[must_use]
pub fn lost_ms(elapsed_ms: u64, builds: usize) -> u64 {
    elapsed_ms - (u128::from(elapsed_ms) * 1000 / u128::from(stretch_permille(builds))) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_alone_loses_nothing_and_more_together_do_more_work() {
        assert_eq!([0, 1].map(stretch_permille), [1000, 1000]);
        assert_eq!([0, 7, u64::MAX].map(|ms| lost_ms(ms, 1)), [0, 0, 0]);
        assert_eq!(lost_ms(1400, 2), 400);
        let work = |builds: usize| builds as u64 * 1_000_000 / stretch_permille(builds);
        assert!((1..8).all(|n| work(n) < work(n + 1) && work(n + 1) < 2 * work(n)));
    }
}
