//! The agent: all decisions of a drone as a state machine without clock, network or disk.
//!
//! The loop around it passes in events ([`Input`]) with the time and carries out the actions it
//! returns ([`Output`]). The simulation drives the same machine through lost, duplicated and late
//! messages, crashes and stops.
//!
//! Rules:
//! - At most `slots` builds and one claim are open at a time. A claim whose answer was lost is
//!   repeated with the same key, so that the orchestrator returns the same attempt instead of a
//!   second one.
//! - Every heartbeat lists every attempt that the drone holds, until the orchestrator has
//!   acknowledged its result or cancelled it. Results are spooled to disk before they are reported.
//!   Delivery is retried until the orchestrator accepts or rejects the result; files and plans that
//!   something in between blocks are given up after [`Timing::blocked_ms`].
//! - A result that a restored journal does not know but a later run may need is kept, and sent on request.
//! - Losing the orchestrator does not affect a running build.
//! - The first stop request lets builds finish; the second kills them.

mod delivery;
mod stopping;
mod timing;
mod words;

pub use delivery::Delivery;
use delivery::{After, Backoff, Item, Stage};
use std::collections::BTreeMap;
use stopping::Stop;
use swarm_common::{id::AttemptId, state::Phase, time::TimeMs, wire::drone::*};
pub use timing::Timing;
use words::{cut_off, damaged, handed_back};

/// Minimum time between two claims, even if an answer without work comes at once.
const CLAIM_SPACING_MS: u64 = 1_000;

/// An attempt that a restarted drone finds in its spool.
#[derive(Debug, Clone, PartialEq)]
pub enum Recovered {
    /// The drone ended while the build was running.
    Unfinished(AttemptId),
    /// The result was not acknowledged.
    Finished(AttemptId, Box<ReportRequest>),
    /// The result cannot be read, for this reason.
    Damaged(AttemptId, String),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    Tick,
    /// The answer to the last claim; `None` if the request failed.
    ClaimAnswered(Option<ClaimReply>),
    /// The answer to the last heartbeat; `None` if the request failed.
    HeartbeatAnswered(Option<HeartbeatReply>),
    /// A build has entered a phase.
    PhaseReached(AttemptId, Phase),
    /// A build has ended and its report is spooled; `None` if it was killed on request.
    BuildEnded(AttemptId, Option<ReportRequest>),
    /// The upload of an attempt's files has ended.
    UploadEnded(AttemptId, Delivery),
    /// Sending the report of an attempt has ended.
    ReportEnded(AttemptId, Delivery),
    /// The drone is asked to stop. The second request does not wait for builds.
    StopRequested,
    /// The drone is asked to take no new work; running builds continue.
    PauseRequested,
    ResumeRequested,
    /// The sign-off was sent, or sending it failed.
    SignedOff,
}

/// An action for the loop to carry out.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send this claim; answer with [`Input::ClaimAnswered`].
    Claim(ClaimRequest),
    /// Send a heartbeat; answer with [`Input::HeartbeatAnswered`].
    Heartbeat {
        /// Every attempt that the drone holds.
        attempts: Vec<AttemptStatus>,
        /// Whether the drone takes no new work.
        draining: bool,
    },
    /// Record the assignment on disk and start the build.
    Start(Box<Assignment>),
    /// Kill a build and all its processes, then send [`Input::BuildEnded`] with `None`.
    Kill(AttemptId),
    /// Send the spooled files of an attempt.
    Upload(AttemptId),
    /// Send the report of an attempt.
    Report(AttemptId, Box<ReportRequest>),
    /// Record on disk that the attempt ended with this report.
    Spool(AttemptId, Box<ReportRequest>),
    /// Remove the attempt from disk.
    Forget(AttemptId),
    /// Tell the orchestrator that the drone goes offline; answer with [`Input::SignedOff`].
    SignOff,
    Exit,
}

#[derive(Debug)]
pub struct Agent {
    timing: Timing,
    slots: usize,
    /// Random. Makes claim keys unique across restarts and seeds the jitter.
    nonce: u64,
    items: BTreeMap<AttemptId, Item>,
    claim: ClaimState,
    claims_made: u64,
    claim_backoff: Backoff,
    claim_at: TimeMs,
    beat_at: TimeMs,
    beat_open: bool,
    /// When the last heartbeat was answered or had failed.
    beat_ended: TimeMs,
    /// Something changed while the last heartbeat was in flight, so the next one must follow at once.
    beat_again: bool,
    /// Whether the drone takes no new work until it is resumed.
    paused: bool,
    stop: Option<Stop>,
}

#[derive(Debug, PartialEq)]
enum ClaimState {
    /// The next claim gets a new key.
    Idle,
    /// A claim with this key is in flight.
    Open(String),
    /// The claim with this key was not answered; the next claim repeats it.
    Unanswered(String),
}

impl Agent {
    /// Creates an agent with `slots` build slots that starts at `now` with the `recovered` content of its
    /// spool. `nonce` is random; a `drained` agent takes no work until it is resumed.
    #[must_use]
    pub fn new(
        timing: Timing,
        slots: u32,
        nonce: u64,
        now: TimeMs,
        recovered: Vec<Recovered>,
        drained: bool,
    ) -> (Self, Vec<Output>) {
        let mut agent = Self {
            timing,
            slots: slots.max(1) as usize,
            nonce,
            items: BTreeMap::new(),
            claim: ClaimState::Idle,
            claims_made: 0,
            claim_backoff: Backoff::default(),
            claim_at: now,
            beat_at: now,
            beat_open: false,
            beat_ended: now,
            beat_again: false,
            paused: drained,
            stop: None,
        };
        let mut outputs = Vec::new();
        for found in recovered {
            let (attempt, report) = match found {
                Recovered::Finished(attempt, report) => {
                    agent.items.insert(attempt, Item::delivering(*report));
                    continue;
                }
                Recovered::Unfinished(attempt) => (attempt, cut_off()),
                Recovered::Damaged(attempt, why) => (attempt, *damaged(&why)),
            };
            outputs.push(Output::Spool(attempt, Box::new(report.clone())));
            agent.items.insert(attempt, Item::delivering(report));
        }
        outputs.extend(agent.pump(now));
        (agent, outputs)
    }

    /// Handles an event at `now` and returns the actions to carry out.
    pub fn step(&mut self, now: TimeMs, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        match input {
            Input::Tick => {}
            Input::ClaimAnswered(reply) => self.claim_answered(now, reply, &mut outputs),
            Input::HeartbeatAnswered(reply) => {
                self.beat_open = false;
                let again = std::mem::take(&mut self.beat_again) && reply.is_some();
                let ended = std::mem::replace(&mut self.beat_ended, now);
                if reply.is_none() {
                    let away_ms = now.since(ended);
                    self.items.values_mut().for_each(|item| item.nobody_answered(now, away_ms));
                }
                self.beat_at = if again { now } else { now + self.timing.heartbeat_ms };
                if let Some(reply) = reply {
                    for (attempt, item) in &mut self.items {
                        item.keep(now, reply.kept.contains(attempt));
                    }
                    for cancelled in reply.cancel {
                        self.cancel(cancelled.attempt, &mut outputs);
                    }
                }
            }
            Input::PhaseReached(attempt, phase) => {
                if let Some(Item { stage: Stage::Building(at), .. }) = self.items.get_mut(&attempt) {
                    *at = (*at).max(phase);
                    self.beat_soon(now);
                }
            }
            Input::BuildEnded(attempt, report) => {
                self.build_ended(attempt, report, &mut outputs);
                // Report the free slot.
                self.beat_soon(now);
            }
            Input::UploadEnded(attempt, delivery) => {
                let item = self.items.get_mut(&attempt);
                let after = item.map(|i| i.uploaded(now, delivery, &self.timing, self.nonce));
                self.sent(attempt, after, &mut outputs);
            }
            Input::ReportEnded(attempt, delivery) => {
                let item = self.items.get_mut(&attempt);
                let after = item.map(|i| i.reported(now, delivery, &self.timing, self.nonce));
                self.sent(attempt, after, &mut outputs);
            }
            Input::StopRequested => self.stop_requested(now),
            Input::PauseRequested => {
                self.paused = true;
                self.beat_soon(now);
            }
            Input::ResumeRequested => {
                self.paused = false;
                self.beat_soon(now);
            }
            Input::SignedOff => {
                outputs.push(Output::Exit);
                return outputs;
            }
        }
        outputs.extend(self.pump(now));
        outputs
    }

    /// When [`Input::Tick`] is due at the latest.
    #[must_use]
    pub fn next_tick(&self) -> TimeMs {
        if self.is_signing_off() {
            return TimeMs(u64::MAX);
        }
        let deliveries = self.items.values().filter_map(Item::due_at);
        let claim = self.wants_work().then_some(self.claim_at);
        let beat = (!self.beat_open).then_some(self.beat_at);
        let stop = self.stop.map(|s| s.deadline);
        let far = TimeMs(u64::MAX);
        deliveries.chain(claim).chain(beat).chain(stop).min().unwrap_or(far)
    }

    /// Whether a build is running.
    #[must_use]
    pub fn is_building(&self) -> bool {
        self.items.values().any(Item::is_building)
    }

    fn is_signing_off(&self) -> bool {
        self.stop.is_some_and(|stop| stop.signing_off)
    }

    fn wants_work(&self) -> bool {
        self.stop.is_none()
            && !self.paused
            && !matches!(self.claim, ClaimState::Open(_))
            && self.items.values().filter(|item| item.holds_slot()).count() < self.slots
    }

    /// Sends the next heartbeat at once, or right after the one in flight.
    fn beat_soon(&mut self, now: TimeMs) {
        if self.beat_open {
            self.beat_again = true;
        } else {
            self.beat_at = now;
        }
    }

    fn claim_answered(&mut self, now: TimeMs, reply: Option<ClaimReply>, outputs: &mut Vec<Output>) {
        let ClaimState::Open(key) = std::mem::replace(&mut self.claim, ClaimState::Idle) else { return };
        let Some(reply) = reply else {
            self.claim = ClaimState::Unanswered(key);
            self.claim_at = now + self.claim_backoff.next_ms(&self.timing, self.nonce);
            return;
        };
        self.claim_backoff = Backoff::default();
        let Some(assignment) = reply.assignment else { return };
        let attempt = assignment.attempt;
        if self.items.contains_key(&attempt) {
            return;
        }
        // There may be more work.
        self.claim_at = now;
        if self.stop.is_some() || self.paused {
            let report = handed_back("the drone accepts no new work");
            outputs.push(Output::Spool(attempt, Box::new(report.clone())));
            self.items.insert(attempt, Item::delivering(report));
        } else {
            self.items.insert(attempt, Item::building());
            outputs.push(Output::Start(Box::new(assignment)));
        }
    }

    fn cancel(&mut self, attempt: AttemptId, outputs: &mut Vec<Output>) {
        match self.items.get_mut(&attempt) {
            Some(item) if item.is_building() => {
                item.stage = Stage::Killing { hand_back: None };
                outputs.push(Output::Kill(attempt));
            }
            Some(Item { stage: Stage::Killing { hand_back }, .. }) => *hand_back = None,
            Some(_) => {
                self.items.remove(&attempt);
                outputs.push(Output::Forget(attempt));
            }
            // Left over from a spool entry that could not be read: there is no build to cancel.
            None => {}
        }
    }

    fn build_ended(&mut self, attempt: AttemptId, report: Option<ReportRequest>, outputs: &mut Vec<Output>) {
        let Some(item) = self.items.get_mut(&attempt) else { return };
        let report = match (&item.stage, report) {
            // The build ended by itself before a stop killed it, so its result counts.
            (Stage::Building(_) | Stage::Killing { hand_back: Some(_) }, Some(report)) => Some(report),
            (Stage::Killing { hand_back: Some(reason) }, None) => Some(handed_back(reason)),
            (Stage::Building(_), None) => Some(handed_back("the build was stopped")),
            (Stage::Killing { hand_back: None }, _) => None,
            (Stage::Delivering { .. }, _) => return,
        };
        match report {
            Some(report) => {
                outputs.push(Output::Spool(attempt, Box::new(report.clone())));
                *item = Item::delivering(report);
            }
            None => {
                self.items.remove(&attempt);
                outputs.push(Output::Forget(attempt));
            }
        }
    }

    fn sent(&mut self, attempt: AttemptId, after: Option<After>, outputs: &mut Vec<Output>) {
        match after {
            None | Some(After::GoesOn) => {}
            Some(After::Instead(report)) => outputs.push(Output::Spool(attempt, report)),
            Some(After::DoneWith) => {
                self.items.remove(&attempt);
                outputs.push(Output::Forget(attempt));
            }
        }
    }

    /// Returns everything that is due at `now`.
    fn pump(&mut self, now: TimeMs) -> Vec<Output> {
        let mut outputs = Vec::new();
        self.pump_stop(now, &mut outputs);
        if self.is_signing_off() {
            return outputs;
        }
        if !self.beat_open && self.beat_at <= now {
            self.beat_open = true;
            let status = |(&attempt, item): (&AttemptId, &Item)| AttemptStatus {
                attempt,
                phase: item.phase(),
                stuck: item.stuck(now),
                made_from: None,
            };
            let attempts = self.items.iter().map(status).collect();
            outputs.push(Output::Heartbeat { attempts, draining: self.stop.is_some() || self.paused });
        }
        for (&attempt, item) in &mut self.items {
            outputs.extend(item.pump(now, attempt));
        }
        if self.wants_work() && self.claim_at <= now {
            let key = match std::mem::replace(&mut self.claim, ClaimState::Idle) {
                ClaimState::Unanswered(key) => key,
                ClaimState::Idle | ClaimState::Open(_) => {
                    self.claims_made += 1;
                    format!("{:016x}-{}", self.nonce, self.claims_made)
                }
            };
            self.claim = ClaimState::Open(key.clone());
            self.claim_at = now + CLAIM_SPACING_MS;
            let wait_ms = self.timing.claim_wait_ms;
            outputs.push(Output::Claim(ClaimRequest { key, wait_ms, memory_free_bytes: 0 }));
        }
        outputs
    }
}

#[cfg(test)]
mod tests;
