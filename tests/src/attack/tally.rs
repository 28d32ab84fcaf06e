//! What one kind of attack has tried, and what came of it.

use serde::Serialize;
use std::{fmt::Display, time::Duration};

/// Wrong verdicts that are told of one by one.
const TOLD: usize = 20;

/// What is to come of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// It is sound.
    Taken,
    /// It is not.
    Refused,
    /// It may be either, and has no other effect.
    Either,
}

/// What came of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// An answer with this status, and of a problem its kind.
    Status(u16, String),
    /// The connection ended without one, or nothing came for long.
    Nothing(String),
}

impl Said {
    /// It was taken.
    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Status(200..=299, _))
    }
}

/// What one kind of attack has tried.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Tally {
    /// Which.
    pub kind: &'static str,
    /// What was sent or done.
    pub inputs: u64,
    /// Of these what was taken.
    pub taken: u64,
    /// Of these what was refused.
    pub refused: u64,
    /// Verdicts that are wrong.
    pub wrong: u64,
    /// The first of them.
    pub examples: Vec<String>,
    /// Ends of the process, and panics in its log.
    pub crashes: u64,
    /// Milliseconds of the slowest answer.
    pub slowest_ms: f64,
    /// What that was.
    pub slowest: String,
    /// Milliseconds of the slowest answer to a plan.
    pub slowest_plan_ms: f64,
    /// What that was.
    pub slowest_plan: String,
    /// Heartbeats of a well-behaved drone meanwhile.
    pub heartbeats: u64,
    /// What 99 of 100 of them took at most, in milliseconds.
    pub heartbeat_p99_ms: f64,
    /// Peak memory of the orchestrator in MB.
    pub peak_mb: f64,
}

impl Tally {
    /// Nothing yet.
    pub fn new(kind: &'static str) -> Self {
        Self { kind, ..Self::default() }
    }

    /// Notes that something was taken that could not be wrong, or was refused.
    pub fn count(&mut self, taken: bool) {
        self.inputs += 1;
        *if taken { &mut self.taken } else { &mut self.refused } += 1;
    }

    /// Notes a wrong verdict.
    pub fn wrong(&mut self, what: String) {
        self.wrong += 1;
        if self.examples.len() < TOLD {
            self.examples.push(what.chars().take(500).collect());
        }
    }

    /// Judges what came of an input.
    pub fn judge(&mut self, what: impl Display, due: Due, said: &Said, took: Duration) {
        self.count(said.is_ok());
        self.took(&what, took);
        match (said, due) {
            // Not now, and when to come again: no room, or an upload that another request sends.
            (Said::Status(503, kind), Due::Refused | Due::Either)
                if kind == "/problems/no-room" || kind == "/problems/upload-busy" => {}
            (Said::Status(500.., _), _) => self.wrong(format!("{what}: {said:?}")),
            (Said::Status(200..=299, _), Due::Refused) => self.wrong(format!("{what} was taken")),
            (_, Due::Taken) if !said.is_ok() => self.wrong(format!("{what} was not taken: {said:?}")),
            _ => {}
        }
    }

    /// Notes how long the answer to a plan took.
    pub fn took_for_plan(&mut self, what: &str, took: Duration) {
        let ms = took.as_secs_f64() * 1000.0;
        if ms > self.slowest_plan_ms {
            (self.slowest_plan_ms, self.slowest_plan) = (ms, what.to_owned());
        }
    }

    /// Notes how long an answer took.
    pub fn took(&mut self, what: &impl Display, took: Duration) {
        let ms = took.as_secs_f64() * 1000.0;
        if ms > self.slowest_ms {
            (self.slowest_ms, self.slowest) = (ms, what.to_string().chars().take(60).collect());
        }
    }
}

/// A line for each, and one for all.
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
