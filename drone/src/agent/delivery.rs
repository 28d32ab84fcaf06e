//! The delivery of one attempt: build, upload, report, forget.

use super::{Output, Timing, words::undelivered};
use swarm_common::{
    id::AttemptId,
    state::Phase,
    time::TimeMs,
    wire::drone::{Outcome, ReportRequest, Stuck},
};

/// Maximum length of [`Stuck::why`], in characters.
const LONGEST_WHY: usize = 300;

/// The result of sending files or a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The orchestrator acknowledged it.
    Done,
    /// It did not arrive, or the orchestrator cannot accept it now.
    Failed,
    /// Something between the drone and the orchestrator, such as a proxy, rejected it.
    Blocked {
        /// The answer or error that came back.
        why: String,
        /// Bytes that have arrived so far.
        arrived: u64,
    },
    /// The orchestrator rejected it for good.
    Refused,
    /// The orchestrator does not have the files that the report names.
    FilesMissing,
}

/// An attempt that the drone is responsible for.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) stage: Stage,
    backoff: Backoff,
    blocked: Option<Blocked>,
}

/// An upload that makes no progress: since when, and why.
#[derive(Debug)]
struct Blocked {
    since: TimeMs,
    arrived: u64,
    why: String,
}

/// What to do after an upload ended.
#[derive(Debug, PartialEq)]
pub(super) enum After {
    /// Keep the attempt; the upload succeeded or will be retried.
    GoesOn,
    /// Forget the attempt.
    DoneWith,
    /// Give up the files and send this report instead.
    Instead(Box<ReportRequest>),
}

#[derive(Debug)]
pub(super) enum Stage {
    /// The build is running, in this phase.
    Building(Phase),
    /// The build is being killed, to be handed back with this reason or forgotten.
    Killing { hand_back: Option<String> },
    /// The build has ended and its result is being sent.
    Delivering {
        report: Box<ReportRequest>,
        /// The files have arrived, or there are none.
        uploaded: bool,
        /// A request is in flight.
        open: bool,
        /// Nothing is sent before this time.
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

    /// Whether a build process still runs, including one that is being killed.
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

    /// Returns the request to send at `now`, if one is due.
    pub(super) fn pump(&mut self, now: TimeMs, attempt: AttemptId) -> Option<Output> {
        let Stage::Delivering { report, uploaded, open, due } = &mut self.stage else { return None };
        if *open || *due > now {
            return None;
        }
        *open = true;
        Some(if *uploaded { Output::Report(attempt, report.clone()) } else { Output::Upload(attempt) })
    }

    /// Handles the result of an upload.
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

    /// Restarts the clock of a blocked upload: while the orchestrator itself is unreachable, the
    /// upload says nothing about what is in between.
    pub(super) fn nobody_answers(&mut self, now: TimeMs) {
        if let Some(blocked) = &mut self.blocked {
            blocked.since = now;
        }
    }

    /// Returns how long the upload has been blocked, if it is.
    pub(super) fn stuck(&self, now: TimeMs) -> Option<Stuck> {
        let Blocked { since, why, .. } = self.blocked.as_ref()?;
        Some(Stuck { for_ms: now.since(*since), why: why.chars().take(LONGEST_WHY).collect() })
    }

    /// Handles the result of sending the report. Returns true if the attempt is finished.
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

/// Exponential backoff with jitter, so that drones do not reconnect in lockstep.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next delay in milliseconds: doubled each time up to the maximum, with ±25 % jitter.
    pub(super) fn next_ms(&mut self, timing: &Timing, nonce: u64) -> u64 {
        let base = timing.backoff_ms.saturating_mul(1 << self.failures.min(20)).min(timing.backoff_max_ms);
        self.failures = self.failures.saturating_add(1);
        // The mix needs no quality: it only has to spread the drones.
        let mixed = (nonce ^ u64::from(self.failures)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        base - base / 4 + mixed % (base / 2 + 1)
    }
}
