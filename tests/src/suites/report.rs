//! The printed report: the output of each job in one piece, the slowest tests, the failures, and the sum.

use super::{counts::Counts, job::Ended};
use std::{fmt::Write as _, time::Duration};

/// Number of slowest tests to list.
const SLOWEST: usize = 10;

/// The text printed when a job has ended.
#[must_use]
pub fn of_one(ended: &Ended) -> String {
    let mut text = format!("== {}\n{}", ended.name, ended.output);
    let verdict = ended.failure.as_ref().map_or_else(|| "ok".to_owned(), |why| format!("FAILED: {why}"));
    let _written = writeln!(
        text,
        "== {}: {verdict}; {} tests, {} s ({} s of the processors)",
        ended.name,
        ended.counts.all(),
        ended.took.as_secs(),
        ended.processor.as_secs()
    );
    text
}

/// The text printed at the end, before the sum: the slowest tests and the failures.
#[must_use]
pub fn of_all(ended: &[Ended]) -> String {
    let mut tests: Vec<(Duration, String)> = ended
        .iter()
        .flat_map(|job| job.tests.iter().map(|(test, took)| (*took, format!("{} {test}", job.name))))
        .collect();
    tests.sort();
    let mut text = String::from("== slowest tests, beside others\n");
    for (took, test) in tests.iter().rev().take(SLOWEST) {
        let _written = writeln!(text, "{:7.1} s  {test}", took.as_secs_f64());
    }
    for job in ended {
        let Some(why) = &job.failure else { continue };
        let _written = writeln!(text, "== failed: {}: {why}", job.name);
        let failed =
            job.output.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
        for test in failed {
            let _written = writeln!(text, "    {test}");
        }
    }
    text
}

/// The sum in the form of a result line.
#[must_use]
pub fn sum(ended: &[Ended]) -> String {
    let counts: Counts = ended.iter().map(|job| job.counts).sum();
    let verdict = if ended.iter().any(|job| job.failure.is_some()) { "FAILED" } else { "ok" };
    format!(
        "test result: {verdict}. {} passed; {} failed; {} ignored",
        counts.passed, counts.failed, counts.ignored
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_failed_without_a_failed_test_makes_the_sum_a_failure_and_is_named() {
        let passed = Counts { passed: 5, ..Counts::default() };
        let good = Ended { name: "a/good".into(), counts: passed, ..Ended::default() };
        assert_eq!(
            sum(&[Ended { counts: passed, ..Ended::default() }]),
            "test result: ok. 5 passed; 0 failed; 0 ignored"
        );
        let crashed = Ended {
            name: "a/crashed".into(),
            failure: Some("signal: 9 (SIGKILL)".into()),
            output: "test x::y ... FAILED\n".into(),
            ..Ended::default()
        };
        let all = [good, crashed];
        assert_eq!(sum(&all), "test result: FAILED. 5 passed; 0 failed; 0 ignored");
        assert!(
            of_all(&all).ends_with("== failed: a/crashed: signal: 9 (SIGKILL)\n    x::y\n"),
            "{}",
            of_all(&all)
        );
    }

    #[test]
    fn the_ten_slowest_tests_of_all_jobs_are_named() {
        let job = |name: &str, from: u64| Ended {
            name: name.into(),
            tests: (from..from + 8).map(|n| (format!("t{n}"), Duration::from_secs(n))).collect(),
            ..Ended::default()
        };
        let text = of_all(&[job("a", 0), job("b", 8)]);
        let named: Vec<&str> = text.lines().skip(1).map(str::trim_start).collect();
        assert_eq!(named.len(), SLOWEST);
        assert_eq!((named[0], named[9]), ("15.0 s  b t15", "6.0 s  a t6"));
    }
}
