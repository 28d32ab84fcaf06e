//! The delivery of one attempt: build, upload, report, forget.

use super::{
    Output, Timing,
    words::{damaged, undelivered},
};
use swarm_common::{
    id::AttemptId,
    state::Phase,
    time::TimeMs,
    wire::drone::{Outcome, ReportRequest, Stuck},
};

/// Maximum length of [`Stuck::why`] in characters.
const LONGEST_WHY: usize = 300;

/// The longest pause that the orchestrator may ask for, in milliseconds.
pub(super) const LONGEST_WISH_MS: u64 = 600_000;

/// How many times to try to read a result from the spool.
const READS: u32 = 3;

/// The result of sending files or a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    Done,
    /// The orchestrator cannot accept it now.
    Failed {
        why: String,
        /// Bytes of the files that have arrived so far.
        arrived: u64,
        /// How long the orchestrator asks to wait, in milliseconds.
        after_ms: u64,
    },
    /// Something between the drone and the orchestrator, such as a proxy, rejected the request, or nothing
    /// answered.
    Blocked {
        /// The answer or error that came back.
        why: String,
        /// Bytes of the files that have arrived so far.
        arrived: u64,
    },
    /// The drone cannot read the result from its spool, or it was damaged there.
    Broken {
        why: String,
    },
    /// The orchestrator rejected the result permanently.
    Refused,
    /// The orchestrator does not have the files that the report names.
    FilesMissing,
}

/// An attempt that the drone is responsible for.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) stage: Stage,
    backoff: Backoff,
    stalled: Option<Stalled>,
    /// The orchestrator may want the result later, and asked the drone not to send it before.
    kept: bool,
    /// How many times reading the result failed.
    unreadable: u32,
}

/// A delivery that makes no progress.
#[derive(Debug)]
struct Stalled {
    since: TimeMs,
    /// Since when something between the drone and the orchestrator blocks the delivery. Answers of the
    /// orchestrator do not reset this, because they may be to other requests than the blocked one.
    blocked: Option<TimeMs>,
    arrived: u64,
    why: String,
}

/// What to do after files or a report were sent.
#[derive(Debug, PartialEq)]
pub(super) enum After {
    /// Keep the attempt: there is more to send, or it must be sent again.
    GoesOn,
    DoneWith,
    /// Give up the result and send this report instead.
    Instead(Box<ReportRequest>),
}

#[derive(Debug)]
pub(super) enum Stage {
    /// The build is running and is in this phase.
    Building(Phase),
    /// The build is being killed. It is handed back with this reason, or forgotten if there is none.
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
        Self::new(Stage::Building(Phase::Assigned))
    }

    pub(super) fn delivering(report: ReportRequest) -> Self {
        let uploaded = !report.is_built();
        Self::new(Stage::Delivering { report: Box::new(report), uploaded, open: false, due: TimeMs(0) })
    }

    fn new(stage: Stage) -> Self {
        Self { stage, backoff: Backoff::default(), stalled: None, kept: false, unreadable: 0 }
    }

    pub(super) fn is_building(&self) -> bool {
        matches!(self.stage, Stage::Building(_))
    }

    /// Whether a build process is still running, including one that is being killed.
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
            Stage::Delivering { open: false, due, .. } if !self.kept => Some(due),
            _ => None,
        }
    }

    /// Whether the result waits until the orchestrator wants it.
    pub(super) fn is_kept(&self) -> bool {
        self.kept && matches!(self.stage, Stage::Delivering { .. })
    }

    /// Keeps the result for now, or starts to deliver one that was kept.
    pub(super) fn keep(&mut self, now: TimeMs, kept: bool) {
        if std::mem::replace(&mut self.kept, kept) == kept {
            return;
        }
        (self.backoff, self.stalled) = (Backoff::default(), None);
        if let Stage::Delivering { due, .. } = &mut self.stage {
            *due = now;
        }
    }

    /// Returns the request to send at `now`, if one is due.
    pub(super) fn pump(&mut self, now: TimeMs, attempt: AttemptId) -> Option<Output> {
        let Stage::Delivering { report, uploaded, open, due } = &mut self.stage else { return None };
        if *open || *due > now || self.kept {
            return None;
        }
        *open = true;
        Some(if *uploaded { Output::Report(attempt, report.clone()) } else { Output::Upload(attempt) })
    }

    /// Handles the result of an upload.
    pub(super) fn uploaded(&mut self, now: TimeMs, delivery: Delivery, timing: &Timing, nonce: u64) -> After {
        let Stage::Delivering { uploaded, open, .. } = &mut self.stage else { return After::GoesOn };
        *open = false;
        if delivery != Delivery::Done {
            return self.not_delivered(now, delivery, timing, nonce);
        }
        *uploaded = true;
        self.backoff = Backoff::default();
        self.stalled = None;
        After::GoesOn
    }

    /// Handles the result of sending the report.
    pub(super) fn reported(&mut self, now: TimeMs, delivery: Delivery, timing: &Timing, nonce: u64) -> After {
        let Stage::Delivering { open, .. } = &mut self.stage else { return After::GoesOn };
        *open = false;
        if delivery == Delivery::Done {
            return After::DoneWith;
        }
        self.not_delivered(now, delivery, timing, nonce)
    }

    fn not_delivered(&mut self, now: TimeMs, delivery: Delivery, timing: &Timing, nonce: u64) -> After {
        let Stage::Delivering { report, uploaded, due, .. } = &mut self.stage else { return After::GoesOn };
        *due = now + self.backoff.next_ms(timing, nonce);
        let instead = match delivery {
            Delivery::Done => None,
            Delivery::Refused => return After::DoneWith,
            Delivery::FilesMissing => {
                *uploaded = false;
                None
            }
            Delivery::Broken { why } => {
                self.unreadable += 1;
                (self.unreadable >= READS).then(|| damaged(&why))
            }
            Delivery::Failed { why, arrived, after_ms } => {
                *due = (*due).max(now + after_ms.min(LONGEST_WISH_MS));
                Stalled::note(&mut self.stalled, now, why, arrived);
                None
            }
            Delivery::Blocked { why, arrived } => {
                let stalled = Stalled::note(&mut self.stalled, now, why, arrived);
                let for_ms = now.since(*stalled.blocked.get_or_insert(now));
                // The replacement has to be smaller, or it would be blocked as well.
                let is_large = !*uploaded || matches!(report.outcome, Outcome::Planned { .. });
                (is_large && for_ms >= timing.blocked_ms).then(|| undelivered(&stalled.why, for_ms))
            }
        };
        let Some(instead) = instead else { return After::GoesOn };
        (*uploaded, *due) = (true, now);
        report.clone_from(&instead);
        (self.backoff, self.stalled) = (Backoff::default(), None);
        After::Instead(instead)
    }

    /// Subtracts `away_ms`, the time before `now` in which the orchestrator answered no heartbeat either: a
    /// delivery that fails in that time says nothing about what is in between.
    pub(super) fn nobody_answered(&mut self, now: TimeMs, away_ms: u64) {
        if let Some(Stalled { since, blocked, .. }) = &mut self.stalled {
            for time in [Some(since), blocked.as_mut()].into_iter().flatten() {
                *time = (*time + away_ms).min(now);
            }
        }
    }

    /// Returns how long the delivery has made no progress, and why.
    pub(super) fn stuck(&self, now: TimeMs) -> Option<Stuck> {
        let Stalled { since, why, .. } = self.stalled.as_ref()?;
        Some(Stuck { for_ms: now.since(*since), why: why.chars().take(LONGEST_WHY).collect() })
    }
}

impl Stalled {
    /// Records that a delivery failed. Restarts the clocks if more bytes have arrived than before.
    fn note(stalled: &mut Option<Self>, now: TimeMs, why: String, arrived: u64) -> &mut Self {
        let before = stalled.take().filter(|before| before.arrived >= arrived);
        let (since, blocked, arrived) =
            before.map_or((now, None, arrived), |before| (before.since, before.blocked, before.arrived));
        stalled.insert(Self { since, blocked, arrived, why })
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
        // The hash needs no quality: it only spreads the drones in time.
        let mixed = (nonce ^ u64::from(self.failures)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        base - base / 4 + mixed % (base / 2 + 1)
    }
}

impl super::Agent {
    /// Whether a request about the result of this attempt is in flight.
    #[must_use]
    pub fn is_reporting(&self, attempt: AttemptId) -> bool {
        let stage = self.items.get(&attempt).map(|item| &item.stage);
        matches!(stage, Some(Stage::Delivering { open: true, .. }))
    }

    /// Whether the drone holds this attempt: it is building it, or its result was not acknowledged yet.
    #[must_use]
    pub fn holds(&self, attempt: AttemptId) -> bool {
        self.items.contains_key(&attempt)
    }
}
