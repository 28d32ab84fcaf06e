//! Counts passed and failed tests in the output of libtest.

use std::iter::Sum;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
    /// Tests that were not run.
    pub ignored: usize,
}

impl Counts {
    #[must_use]
    pub fn all(self) -> usize {
        self.passed + self.failed + self.ignored
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, one| Self {
            passed: sum.passed + one.passed,
            failed: sum.failed + one.failed,
            ignored: sum.ignored + one.ignored,
        })
    }
}

/// Parses libtest's result lines: `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered
/// out; finished in 0.10s`.
#[must_use]
pub fn counts(output: &str) -> Vec<Counts> {
    let results = output.lines().filter_map(|line| line.strip_prefix("test result: "));
    let count = |result: &str| {
        let (_, parts) = result.split_once(". ")?;
        let number = |what: &str| {
            parts.split("; ").find_map(|part| part.strip_suffix(what)?.trim().parse::<usize>().ok())
        };
        Some(Counts { passed: number("passed")?, failed: number("failed")?, ignored: number("ignored")? })
    };
    results.filter_map(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted_and_added_up() {
        let output = "test a ... ok\n\
            test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.10s\n\
            test result: FAILED. 3 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s\n\
            test result: unreadable\n";
        let counts = counts(output);
        assert_eq!(counts.len(), 2);
        assert_eq!(counts.iter().copied().sum::<Counts>(), Counts { passed: 8, failed: 4, ignored: 1 });
    }
}
