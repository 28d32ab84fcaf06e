//! Decides which jobs run at the same time.
//!
//! Two workers prefer suites that wait. The others, one for every two processors, prefer suites that compute
//! and run them at a lower priority, so that a waiting suite continues immediately after its event. A worker
//! with no jobs of its kind left takes the other kind, so the processors stay busy until the end.

use super::job::{Ended, Job};
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError, mpsc},
};

/// Number of workers that prefer suites that wait.
const WAITERS: usize = 2;

/// Suites that wait most of the time, the longest first. All others compute.
const WAITING: &[&str] = &[
    "swarm-tests/e2e",
    "swarm-drone/portage",
    "swarm-tests/api",
    "swarm-tests/services",
    "swarm-tests/healing",
    "swarm-tests/redis",
    "swarm-tests/drones",
    "swarm-drone/lib",
    "swarm-orchestrator/lib",
    "swarm-tests/crash",
    "swarm-orchestrator/program",
    "swarmctl/exit_codes",
];

/// Suites that compute for a long time. They are started early.
const LONG: &[&str] = &["swarm-tests/simulation", "swarm-tests/attack", "swarm-formats/verdicts"];

/// Whether this job mostly waits.
#[must_use]
pub fn waits(name: &str) -> bool {
    WAITING.contains(&name)
}

/// The jobs that wait and those that compute, in the order in which to start them.
struct Queues {
    waiting: VecDeque<Job>,
    computing: VecDeque<Job>,
}

impl Queues {
    fn new(jobs: Vec<Job>) -> Self {
        let place = |names: &[&str], job: &Job| {
            names.iter().position(|name| *name == job.name()).unwrap_or(names.len())
        };
        let (mut waiting, mut computing): (Vec<_>, Vec<_>) =
            jobs.into_iter().partition(|job| waits(job.name()));
        waiting.sort_by_key(|job| place(WAITING, job));
        // Commands first, because the compiler's messages are wanted early.
        computing.sort_by_key(|job| (matches!(job, Job::Suite(_)), place(LONG, job)));
        Self { waiting: waiting.into(), computing: computing.into() }
    }

    fn next(&mut self, waits: bool) -> Option<Job> {
        let (first, second) = match waits {
            true => (&mut self.waiting, &mut self.computing),
            false => (&mut self.computing, &mut self.waiting),
        };
        first.pop_front().or_else(|| second.pop_front())
    }
}

/// The next job for a worker. The lock is released while the job runs.
fn take(queues: &Mutex<Queues>, waits: bool) -> Option<Job> {
    queues.lock().unwrap_or_else(PoisonError::into_inner).next(waits)
}

/// Runs all jobs. Calls `tell` for each one when it has ended.
pub fn run(jobs: Vec<Job>, mut tell: impl FnMut(&Ended)) -> Vec<Ended> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let computing = (processors / 2).max(1);
    let queues = &Mutex::new(Queues::new(jobs));
    let (sender, ended) = mpsc::channel();
    std::thread::scope(|scope| {
        for n in 0..WAITERS + computing {
            let sender = sender.clone();
            scope.spawn(move || {
                while let Some(job) = take(queues, n < WAITERS) {
                    // The receiver lives until all jobs have ended.
                    let _sent = sender.send(job.run(!waits(job.name())));
                }
            });
        }
        drop(sender);
        ended.iter().inspect(|job| tell(job)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suites::Suite;

    fn suite(name: &str) -> Job {
        Job::Suite(Suite { name: name.into(), program: "x".into(), folder: "/".into() })
    }

    #[test]
    fn each_worker_takes_its_own_kind_as_long_as_there_is_one_and_the_longest_first() {
        let jobs = [
            suite("swarm-core/lib"),
            suite("swarm-tests/api"),
            suite("swarm-tests/e2e"),
            suite("swarm-tests/simulation"),
            Job::Command { name: "lints".into(), line: "true".into() },
        ];
        let mut queues = Queues::new(jobs.into());
        let mut next = |waits| queues.next(waits).map(|job| job.name().to_owned());
        let order = [true, false, false, true, true, false].map(|waits| next(waits).unwrap_or_default());
        assert_eq!(
            order,
            ["swarm-tests/e2e", "lints", "swarm-tests/simulation", "swarm-tests/api", "swarm-core/lib", ""]
        );
    }

    #[test]
    fn every_name_in_the_lists_is_that_of_a_suite() {
        for name in WAITING.iter().chain(LONG) {
            let (package, target) = name.split_once('/').unwrap();
            let folder = match package {
                "swarm-core" => "orchestrator/core",
                _ => package.trim_start_matches("swarm-"),
            };
            let folder = crate::tidy::top().join(folder);
            let there = match target {
                "lib" => folder.join("src/lib.rs").exists(),
                _ => {
                    let tests = folder.join("tests");
                    tests.join(format!("{target}.rs")).exists() || tests.join(target).join("main.rs").exists()
                }
            };
            assert!(there, "{name}");
        }
    }
}
