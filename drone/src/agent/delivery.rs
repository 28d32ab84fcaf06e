//! One attempt in the agent's hands: built, uploaded, reported, forgotten.

use super::{Output, Timing, words::undelivered};
use swarm_common::{
    id::AttemptId,
    state::Phase,
    time::TimeMs,
    wire::drone::{Outcome, ReportRequest, Stuck},
};

/// Characters of why files do not get through.
const LONGEST_WHY: usize = 300;

/// How sending something went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The orchestrator has it.
    Done,
    /// It did not arrive, or the orchestrator says that it cannot take it now.
    Failed,
    /// Not the orchestrator but something on the way did not let it through.
    Blocked {
        /// What it answered, if it did.
        why: String,
        /// Bytes that have arrived up to now.
        arrived: u64,
    },
    /// The orchestrator does not want it, and never will.
    Refused,
    /// The orchestrator lacks the files that the report names.
    FilesMissing,
}

/// An attempt that the drone holds.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) stage: Stage,
    backoff: Backoff,
    blocked: Option<Blocked>,
}

/// Since when no more of its files arrives, and why.
#[derive(Debug)]
struct Blocked {
    since: TimeMs,
    arrived: u64,
    why: String,
}

/// What follows from how an upload went.
#[derive(Debug, PartialEq)]
pub(super) enum After {
    /// It goes on, now or later.
    GoesOn,
    /// The attempt is done with.
    DoneWith,
    /// The files are given up, and this is reported instead.
    Instead(Box<ReportRequest>),
}

#[derive(Debug)]
pub(super) enum Stage {
    /// A build runs.
    Building(Phase),
    /// A build is being killed; then it is forgotten, or handed back for this reason.
    Killing { hand_back: Option<String> },
    /// It has ended and the orchestrator is to know.
    Delivering {
        report: Box<ReportRequest>,
        /// The files have arrived, or there are none.
        uploaded: bool,
        /// Something was sent and its answer is awaited.
        open: bool,
        /// Nothing is sent before.
        due: TimeMs,
    },
}

impl Item {
    pub(super) fn building() -> Self {
        Self { stage: Stage::Building(Phase::Assigned), backoff: Backoff::default(), blocked: None }
    }

    pub(super) fn delivering(report: ReportRequest) -> Self {
        let uploaded = !matches!(report.outcome, Outcome::Built { .. });
        let stage = Stage::Delivering { report: Box::new(report), uploaded, open: false, due: TimeMs(0) };
        Self { stage, backoff: Backoff::default(), blocked: None }
    }

    pub(super) fn is_building(&self) -> bool {
        matches!(self.stage, Stage::Building(_))
    }

    /// Whether a build still runs, be it wanted or not.
    pub(super) fn holds_slot(&self) -> bool {
        matches!(self.stage, Stage::Building(_) | Stage::Killing { .. })
    }

    pub(super) fn phase(&self) -> Phase {
        match self.stage {
            Stage::Building(phase) => phase,
            Stage::Killing { .. } => Phase::Assigned,
            Stage::Delivering { .. } => Phase::Uploading,
        }
    }

    pub(super) fn due_at(&self) -> Option<TimeMs> {
        match self.stage {
            Stage::Delivering { open: false, due, .. } => Some(due),
            _ => None,
        }
    }

    /// What is due at `now`.
    pub(super) fn pump(&mut self, now: TimeMs, attempt: AttemptId) -> Option<Output> {
        let Stage::Delivering { report, uploaded, open, due } = &mut self.stage else { return None };
        if *open || *due > now {
            return None;
        }
        *open = true;
        Some(if *uploaded { Output::Report(attempt, report.clone()) } else { Output::Upload(attempt) })
    }

    /// Takes how the upload went.
    pub(super) fn uploaded(&mut self, now: TimeMs, delivery: Delivery, timing: &Timing, nonce: u64) -> After {
        let Stage::Delivering { report, uploaded, open, due } = &mut self.stage else { return After::GoesOn };
        *open = false;
        match delivery {
            Delivery::Done => {
                *uploaded = true;
                self.backoff = Backoff::default();
                self.blocked = None;
            }
            Delivery::Failed | Delivery::FilesMissing => {
                *due = now + self.backoff.next_ms(timing, nonce);
                self.blocked = None;
            }
            Delivery::Blocked { why, arrived } => {
                let since = match &self.blocked {
                    Some(before) if before.arrived >= arrived => before.since,
                    _ => now,
                };
                if now.since(since) >= timing.blocked_ms {
                    let instead = undelivered(&why, now.since(since));
                    (*uploaded, *due) = (true, now);
                    report.clone_from(&instead);
                    (self.backoff, self.blocked) = (Backoff::default(), None);
                    return After::Instead(instead);
                }
                *due = now + self.backoff.next_ms(timing, nonce);
                self.blocked = Some(Blocked { since, arrived, why });
            }
            Delivery::Refused => return After::DoneWith,
        }
        After::GoesOn
    }

    /// The orchestrator itself is away, so nothing on the way is to blame.
    pub(super) fn nobody_answers(&mut self, now: TimeMs) {
        if let Some(blocked) = &mut self.blocked {
            blocked.since = now;
        }
    }

    /// Whether its files do not get through, though the orchestrator answers.
    pub(super) fn stuck(&self, now: TimeMs) -> Option<Stuck> {
        let Blocked { since, why, .. } = self.blocked.as_ref()?;
        Some(Stuck { for_ms: now.since(*since), why: why.chars().take(LONGEST_WHY).collect() })
    }

    /// Takes how the report went. True if the attempt is done with.
    pub(super) fn reported(&mut self, now: TimeMs, delivery: Delivery, timing: &Timing, nonce: u64) -> bool {
        let Stage::Delivering { uploaded, open, due, .. } = &mut self.stage else { return false };
        *open = false;
        match delivery {
            Delivery::Done | Delivery::Refused => true,
            Delivery::Failed | Delivery::Blocked { .. } => {
                *due = now + self.backoff.next_ms(timing, nonce);
                false
            }
            Delivery::FilesMissing => {
                *uploaded = false;
                *due = now + self.backoff.next_ms(timing, nonce);
                false
            }
        }
    }
}

/// Exponential waiting times, spread so that drones do not return in step.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next waiting time: doubling, bounded, with a quarter of spread to either side.
    pub(super) fn next_ms(&mut self, timing: &Timing, nonce: u64) -> u64 {
        let base = timing.backoff_ms.saturating_mul(1 << self.failures.min(20)).min(timing.backoff_max_ms);
        self.failures = self.failures.saturating_add(1);
        // A cheap mix of nonce and count is random enough to spread.
        let mixed = (nonce ^ u64::from(self.failures)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        base - base / 4 + mixed % (base / 2 + 1)
    }
}
