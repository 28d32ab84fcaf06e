//! How many tests passed and failed, from what libtest prints.

use std::iter::Sum;

/// Results of tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Tests that were not run.
    pub ignored: usize,
}

impl Counts {
    /// All tests.
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

/// What libtest's result lines say:
/// `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s`.
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
