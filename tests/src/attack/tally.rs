//! Counts the inputs of one kind of attack and their results.

use serde::Serialize;
use std::{fmt::Display, time::Duration};

/// Maximum number of wrong verdicts to list.
const MAX_EXAMPLES: usize = 20;

/// The expected result of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// It is valid and must be accepted.
    Taken,
    /// It is invalid and must be refused.
    Refused,
    /// It may be accepted or refused, but must have no other effect.
    Either,
}

/// The actual result of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A response with this status and, if it is a problem, its kind.
    Status(u16, String),
    /// The connection ended without a response, or timed out.
    Nothing(String),
}

impl Said {
    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Status(200..=299, _))
    }
}

/// The result of one kind of attack.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Tally {
    pub kind: &'static str,
    pub inputs: u64,
    /// How many of them were accepted.
    pub taken: u64,
    /// How many of them were refused.
    pub refused: u64,
    pub wrong: u64,
    /// The first wrong verdicts.
    pub examples: Vec<String>,
    /// Unexpected ends of the process, and panics in its log.
    pub crashes: u64,
    /// The slowest response in milliseconds.
    pub slowest_ms: f64,
    pub slowest: String,
    /// The slowest response to a plan in milliseconds.
    pub slowest_plan_ms: f64,
    pub slowest_plan: String,
    /// Heartbeats that a well-behaved drone sent meanwhile.
    pub heartbeats: u64,
    /// 99th percentile of their durations in milliseconds.
    pub heartbeat_p99_ms: f64,
    /// Peak memory of the orchestrator in MB.
    pub peak_mb: f64,
}

impl Tally {
    pub fn new(kind: &'static str) -> Self {
        Self { kind, ..Self::default() }
    }

    /// Counts an input whose verdict cannot be wrong.
    pub fn count(&mut self, taken: bool) {
        self.inputs += 1;
        *if taken { &mut self.taken } else { &mut self.refused } += 1;
    }

    pub fn wrong(&mut self, what: String) {
        self.wrong += 1;
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(what.chars().take(500).collect());
        }
    }

    /// Compares a result with the expected one.
    pub fn judge(&mut self, what: impl Display, due: Due, answer: &Said, took: Duration) {
        self.count(answer.is_ok());
        self.took(&what, took);
        match (answer, due) {
            // A temporary refusal: there is no room, or another request is sending the same upload.
            (Said::Status(503, kind), Due::Refused | Due::Either)
                if kind == "/problems/no-room" || kind == "/problems/upload-busy" => {}
            (Said::Status(500.., _), _) => self.wrong(format!("{what}: {answer:?}")),
            (Said::Status(200..=299, _), Due::Refused) => self.wrong(format!("{what} was taken")),
            (_, Due::Taken) if !answer.is_ok() => self.wrong(format!("{what} was not taken: {answer:?}")),
            _ => {}
        }
    }

    /// Records the response time for a plan.
    pub fn took_for_plan(&mut self, what: &str, took: Duration) {
        let ms = took.as_secs_f64() * 1000.0;
        if ms > self.slowest_plan_ms {
            (self.slowest_plan_ms, self.slowest_plan) = (ms, what.to_owned());
        }
    }

    pub fn took(&mut self, what: &impl Display, took: Duration) {
        let ms = took.as_secs_f64() * 1000.0;
        if ms > self.slowest_ms {
            (self.slowest_ms, self.slowest) = (ms, what.to_string().chars().take(60).collect());
        }
    }
}

/// A line for each kind, and a line for the total.
pub fn table(kinds: &[Tally]) -> String {
    let sum = |of: fn(&Tally) -> u64| kinds.iter().map(of).sum();
    let most = |of: fn(&Tally) -> f64| kinds.iter().map(of).fold(0.0, f64::max);
    let all = Tally {
        kind: "all",
        inputs: sum(|t| t.inputs),
        taken: sum(|t| t.taken),
        refused: sum(|t| t.refused),
        wrong: sum(|t| t.wrong),
        crashes: sum(|t| t.crashes),
        slowest_ms: most(|t| t.slowest_ms),
        heartbeat_p99_ms: most(|t| t.heartbeat_p99_ms),
        peak_mb: most(|t| t.peak_mb),
        ..Tally::default()
    };
    let mut text = format!(
        "{:<12} {:>8} {:>8} {:>8} {:>6} {:>8} {:>14} {:>9}  slowest answer\n",
        "kind", "inputs", "taken", "refused", "wrong", "crashes", "heartbeat p99", "memory"
    );
    for tally in kinds.iter().chain([&all]) {
        let Tally { kind, inputs, taken, refused, wrong, crashes, .. } = tally;
        let (p99, peak, slowest) = (tally.heartbeat_p99_ms, tally.peak_mb, tally.slowest_ms);
        text.push_str(&format!(
            "{kind:<12} {inputs:>8} {taken:>8} {refused:>8} {wrong:>6} {crashes:>8} {p99:>11.1} ms {peak:>6.0} MB  {slowest:.0} ms {}\n",
            tally.slowest
        ));
    }
    text
}
