//! Measures how long each test took. libtest does not report this on a stable toolchain, but it starts tests
//! in the order of its list, one whenever another ends, and prints a line for each that ends. The start of
//! each test follows from the times of these lines.

use std::{collections::BTreeMap, time::Duration};

/// The tests of a running suite.
#[derive(Debug)]
pub struct Times {
    waiting: std::vec::IntoIter<String>,
    running: BTreeMap<String, Duration>,
    ended: Vec<(String, Duration)>,
}

impl Times {
    /// A suite that has just been started, with the tests it lists, of which `at_once` run in parallel.
    #[must_use]
    pub fn new(list: Vec<String>, at_once: usize) -> Self {
        let mut waiting = list.into_iter();
        let running = waiting.by_ref().take(at_once).map(|name| (name, Duration::ZERO)).collect();
        Self { waiting, running, ended: Vec::new() }
    }

    /// Records a line that the suite printed at this time after its start.
    pub fn line(&mut self, line: &str, at: Duration) {
        let Some((name, _)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) else {
            return;
        };
        let name = name.strip_suffix(" - should panic").unwrap_or(name);
        let Some(began) = self.running.remove(name) else { return };
        self.ended.push((name.to_owned(), at.saturating_sub(began)));
        self.running.extend(self.waiting.next().map(|next| (next, at)));
    }

    /// The tests that have ended, and how long each took.
    #[must_use]
    pub fn ended(&self) -> &[(String, Duration)] {
        &self.ended
    }

    #[must_use]
    pub fn running(&self) -> Vec<&str> {
        self.running.keys().map(String::as_str).collect()
    }
}

/// How many tests a suite runs in parallel.
#[must_use]
pub fn at_once() -> usize {
    let given = std::env::var("RUST_TEST_THREADS").ok().and_then(|threads| threads.parse().ok());
    given.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_took_the_time_since_the_one_ended_that_made_room_for_it() {
        let list = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let mut times = Times::new(list, 2);
        let seconds = Duration::from_secs;
        times.line("running 4 tests", seconds(0));
        times.line("test b ... ok", seconds(3));
        times.line("test d ... ok", seconds(4)); // It has not started, so something else printed this.
        times.line("test c - should panic ... ok", seconds(5));
        assert_eq!(times.running(), ["a", "d"]);
        times.line("test a ... FAILED", seconds(10));
        let ended: Vec<_> =
            times.ended().iter().map(|(name, took)| (name.as_str(), took.as_secs())).collect();
        assert_eq!(ended, [("b", 3), ("c", 2), ("a", 10)]);
        assert_eq!(times.running(), ["d"]);
    }
}
