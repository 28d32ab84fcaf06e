//! Estimates the work of packages that were never built.
//!
//! Packages with more build dependencies take longer, and packages of one category are alike (Perl
//! modules are small, browsers are not). Both are weak hints, so the estimate is the geometric mean
//! of the two.

use super::median;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The estimate while nothing has been built, in milliseconds.
const UNKNOWN_MS: u64 = 60_000;

/// Number of recent builds kept for each hint.
const KEPT: usize = 63;

/// The minimum number of builds that makes a hint usable.
const LEAST: usize = 3;

/// The builds that estimates are based on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Guess {
    /// Number of builds recorded so far.
    pub count: u64,
    /// Work of builds by category, in milliseconds.
    categories: BTreeMap<String, Vec<u64>>,
    /// Work of builds in milliseconds, by the number of build dependencies as a power of two.
    sizes: BTreeMap<u32, Vec<u64>>,
}

fn size(needs: usize) -> u32 {
    usize::BITS - needs.leading_zeros()
}

fn category(name: &str) -> &str {
    name.split_once('/').map_or(name, |(category, _)| category)
}

impl Guess {
    /// Records the work of a build with `needs` build dependencies.
    pub fn note(&mut self, name: &str, needs: usize, work_ms: u64) {
        self.count += 1;
        keep(self.categories.entry(category(name).to_owned()).or_default(), work_ms);
        keep(self.sizes.entry(size(needs)).or_default(), work_ms);
    }

    /// Estimated work of a package with this name and number of build dependencies, in
    /// milliseconds.
    #[must_use]
    pub fn work_ms(&self, name: &str, needs: usize) -> u64 {
        let enough = |works: &Vec<u64>| works.len() >= LEAST;
        let by_category = self.categories.get(category(name)).filter(|w| enough(w));
        let by_size = self.sizes.get(&size(needs)).filter(|w| enough(w));
        let of = |works: &Vec<u64>| median(works.iter().copied());
        match (by_category.and_then(of), by_size.and_then(of)) {
            (Some(a), Some(b)) => a.saturating_mul(b).isqrt(),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => median(self.sizes.values().flatten().copied()).unwrap_or(UNKNOWN_MS),
        }
    }

    /// Whether enough has been recorded since the last renewal of all estimates: after the first builds, and
    /// whenever the number of builds has grown by half.
    #[must_use]
    pub fn is_due(&self) -> bool {
        let n = self.count;
        n <= 4 || n.isqrt().pow(2) == n && n < 1_000 || n.is_power_of_two()
    }
}

fn keep(works: &mut Vec<u64>, work_ms: u64) {
    works.push(work_ms);
    if works.len() > KEPT {
        works.remove(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_follows_category_and_size() {
        let mut guess = Guess::default();
        assert_eq!(guess.work_ms("a/b", 3), UNKNOWN_MS);
        for _ in 0..LEAST {
            guess.note("dev-perl/x", 1, 100);
            guess.note("www-client/y", 40, 1_000_000);
        }
        assert_eq!(guess.work_ms("dev-perl/new", 1), 100);
        assert_eq!(guess.work_ms("www-client/new", 1), 10_000);
        assert_eq!(guess.work_ms("app-misc/new", 40), 1_000_000);
        assert_eq!(guess.work_ms("app-misc/new", 9), 100);
    }

    #[test]
    fn guesses_are_made_again_ever_more_rarely() {
        let due = (1..=5_000).filter(|&count| Guess { count, ..Guess::default() }.is_due()).count();
        assert!((20..60).contains(&due), "{due}");
    }
}
