//! The engine's thread: batch, decide, append, answer.

use super::{
    EngineError, Leadership, Message, Shared,
    batch::{self, Batch},
    checkpoint,
    claims::{Next, Parked},
    drift::{Drift, Sleep},
    milestones,
};
use crate::journal::{Journal, QueueMirror};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};
use swarm_core::{Command, Policy, Reply, Request, Swarm};

/// Maximum number of waiting messages added to a batch.
const BATCH: usize = 1024;

/// How often to handle the passage of time while it may change something at any moment.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// How often to handle it if nothing is due sooner.
pub(super) const IDLE_TICK: Duration = Duration::from_secs(10);

/// Events between two checkpoints while the engine is idle.
const CHECKPOINT_EVERY: u64 = 10_000;

/// Time after which a round ends and its answers are sent; what was not decided is left for the next one.
const LONGEST_ROUND: Duration = Duration::from_millis(2);

/// Time without a message after which the engine is idle.
const QUIET: Duration = Duration::from_millis(50);

/// Events after which a checkpoint is taken under load. A checkpoint delays all commands, so it is rare.
/// Replaying this many events at a start takes half a second.
const CHECKPOINT_AT_LEAST_EVERY: u64 = 50_000;

/// How long to refuse commands before checking again, while it is unknown who leads.
const LEADERSHIP_RETRY: Duration = Duration::from_millis(100);

/// Longest pause between two attempts to write a batch.
const LONGEST_RETRY: Duration = Duration::from_secs(5);

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) journal: Box<dyn Journal>,
    pub(super) waiting: Receiver<Message>,
    /// Messages that the last round did not decide.
    pub(super) undecided: VecDeque<Message>,
    parked: Vec<Parked>,
    /// The policy for the next batch.
    pub(super) policy: Option<Policy>,
    pub(super) last_tick: Instant,
    last_message: Instant,
    pub(super) drift: Drift,
    pub(super) sleep: Sleep,
    /// How far the time of decisions is ahead of the time that readers see, in milliseconds.
    pub(super) ahead_ms: i64,
    pub(super) last_checkpoint: u64,
    /// The queue as the journal shows it to admins, if the journal supports that.
    shown: Option<QueueMirror>,
    pub(super) loaded: bool,
    pub(super) stopping: bool,
    /// Another orchestrator leads now: nothing may be answered or written.
    pub(super) deposed: bool,
}

impl Worker {
    /// Creates a worker. `last_checkpoint` is the event of the newest checkpoint; `None` if the journal could
    /// not be read.
    pub(super) fn new(
        shared: Arc<Shared>,
        journal: Box<dyn Journal>,
        waiting: Receiver<Message>,
        last_checkpoint: Option<u64>,
    ) -> Self {
        Self {
            undecided: VecDeque::new(),
            parked: Vec::new(),
            policy: None,
            last_tick: Instant::now(),
            last_message: Instant::now(),
            drift: Drift::default(),
            sleep: Sleep::after(shared.clock.suspended_ms()),
            ahead_ms: 0,
            last_checkpoint: last_checkpoint.unwrap_or(0),
            shown: journal.shows_queue().then(QueueMirror::default),
            loaded: last_checkpoint.is_some(),
            stopping: false,
            deposed: false,
            shared,
            journal,
            waiting,
        }
    }

    /// Follows the journal until this orchestrator leads, then works until it is stopped, all handles are
    /// dropped, or another orchestrator leads.
    pub(super) fn run(mut self) {
        if !self.follow() {
            return;
        }
        self.begin();
        while !self.stopping && !self.deposed {
            if let Err(error) = self.journal.held() {
                self.report(Some(&error));
                if let EngineError::Stalled(_) = self.on_journal_error(error.clone()) {
                    self.reject_while_stalled(LEADERSHIP_RETRY, &error);
                }
                continue;
            }
            self.report(None);
            let pause = if self.undecided.is_empty() { self.pause() } else { Duration::ZERO };
            let first = match self.waiting.recv_timeout(pause) {
                Ok(message) => {
                    self.last_message = Instant::now();
                    Some(message)
                }
                Err(RecvTimeoutError::Timeout) => {
                    // Also between two messages of a busy time, if something is due at that moment.
                    if self.last_message.elapsed() >= QUIET {
                        self.keep_checkpoint(CHECKPOINT_EVERY);
                    }
                    None
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.undecided.extend(first.into_iter().chain(self.waiting.try_iter().take(BATCH)));
            let batch = self.decide();
            self.write(batch);
        }
        for parked in self.parked.drain(..) {
            // The caller may be gone.
            let _ = parked.answer.send(Err(EngineError::Stopped));
        }
        if !self.deposed {
            self.keep_checkpoint(1);
            if let Err(error) = self.journal.close() {
                tracing::warn!(%error, "the journal was not closed cleanly; no data is lost");
            }
        }
    }

    /// Records the start. From then on this orchestrator leads.
    fn begin(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut swarm = shared.buffer.back();
        // Ignore suspends as a standby: leases begin now.
        let _ = self.wake_up();
        shared.move_time(std::mem::take(&mut self.ahead_ms));
        shared.catch_up(swarm.at);
        // Earlier events may have changed an index.
        shared.indexed.store(swarm.seq, Ordering::Release);
        let mut batch = Batch::default();
        if self.journal.may_lack() && swarm.seq > 0 {
            tracing::warn!("the journal was restored or lost events; skipping IDs that may be in use");
            let _ = self.handle(&mut swarm, &mut batch, Command::SkipIds, None);
        }
        // This command is never refused.
        let _ = self.handle(&mut swarm, &mut batch, Command::StartOrchestrator, None);
        drop(swarm);
        if self.write(batch) {
            self.set_leadership(Leadership::Leader);
        }
    }

    /// How long to wait for a message before the passage of time may change something.
    fn pause(&self) -> Duration {
        let now = self.shared.now();
        let due = self.shared.buffer.front().next_due();
        // A shared journal also needs a regular check that this orchestrator still leads.
        let due = due.filter(|_| !self.journal.is_shared());
        let every = due.map_or(TICK, |due| Duration::from_millis(due.since(now)).clamp(TICK, IDLE_TICK));
        let tick = every.saturating_sub(self.last_tick.elapsed());
        let deadlines = self.parked.iter().map(|p| Duration::from_millis(p.deadline.since(now)));
        deadlines.fold(tick, Duration::min)
    }

    /// Decides messages, then retries parked claims.
    fn decide(&mut self) -> Batch {
        let shared = Arc::clone(&self.shared);
        let mut swarm = shared.buffer.back();
        let mut batch = Batch::default();
        batch.policy = batch::newest_policy(&self.undecided).cloned().or(self.policy.take());
        if let Some(policy) = &batch.policy {
            swarm.policy.clone_from(policy);
        }
        let began = Instant::now();
        while let Some(message) = self.undecided.pop_front() {
            match message {
                Message::Submit { command, key, answer } => {
                    if let Command::Heartbeat { drone, request } = &*command
                        && request.draining
                    {
                        let drone = *drone;
                        self.dismiss(&mut batch, "the drone is stopping", |claim| claim.drone == drone);
                    }
                    let reply = self.handle(&mut swarm, &mut batch, *command, key);
                    batch.answers.push((answer, reply));
                }
                Message::Claim { drone, request, answer } => {
                    let claim = Parked::new(self.now(), drone, request, answer);
                    let newer = "superseded by a newer claim of this drone";
                    self.dismiss(&mut batch, newer, |older| claim.replaces(older));
                    self.try_claim(&mut swarm, &mut batch, claim);
                }
                Message::Pulse(answer) => answer(),
                Message::Policy { answer, .. } => batch.answers.push((answer, Ok(Reply::Done))),
                Message::Stop => self.stopping = true,
            }
            if began.elapsed() >= LONGEST_ROUND {
                break;
            }
        }
        let tick = self.tick(&mut swarm, &mut batch);
        let now = self.now();
        let time_counts = tick && swarm.next_due().is_none();
        if time_counts || !batch.records.is_empty() || self.parked.iter().any(|p| p.deadline <= now) {
            for parked in std::mem::take(&mut self.parked) {
                self.try_claim(&mut swarm, &mut batch, parked);
            }
        }
        if let Some(shown) = &mut self.shown
            && !batch.records.is_empty()
        {
            batch.delta = shown.update(&swarm, &batch.records);
        }
        if cfg!(debug_assertions)
            && !batch.records.is_empty()
            && let Err(breach) = swarm_core::invariants::check(&swarm)
        {
            tracing::error!(breach, "invariant violated");
            debug_assert!(false, "invariant violated: {breach}");
        }
        batch
    }

    /// Answers the parked claims selected by `which` without giving them work.
    pub(super) fn dismiss(&mut self, batch: &mut Batch, reason: &str, which: impl FnMut(&Parked) -> bool) {
        let (dismissed, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.parked).into_iter().partition(which);
        self.parked = rest;
        batch.answers.extend(dismissed.into_iter().map(|claim| claim.dismissed(reason)));
    }

    fn try_claim(&mut self, swarm: &mut Swarm, batch: &mut Batch, claim: Parked) {
        if claim.is_abandoned() {
            return;
        }
        let command = Command::Claim { drone: claim.drone, request: claim.request.clone() };
        let reply = self.handle(swarm, batch, command, None);
        match claim.decided(self.now(), reply) {
            Next::Answer(answer, reply) => batch.answers.push((answer, reply)),
            Next::Park(claim) => self.parked.push(claim),
        }
    }

    pub(super) fn handle(
        &self,
        swarm: &mut Swarm,
        batch: &mut Batch,
        command: Command,
        key: Option<String>,
    ) -> Result<Reply, EngineError> {
        // Entropy spreads retries; without it they only coincide.
        let entropy = getrandom::u64().unwrap_or_default();
        let request = Request { now: self.now(), entropy, key, command };
        let (records, reply) = swarm.handle(&request)?;
        if let Some(last) = records.iter().rfind(|r| r.event.changes_index()) {
            self.shared.indexed.store(last.seq, Ordering::Release);
        }
        batch.extend(records);
        Ok(reply)
    }

    /// Appends a batch, retrying until it succeeds, then shows it and answers. Returns whether the batch was
    /// written.
    fn write(&mut self, mut batch: Batch) -> bool {
        let kept = self.append(&batch);
        if let Err(error) = &kept {
            // A batch that is not written has not happened.
            batch.answers.drain(..).for_each(|(answer, _)| _ = answer.send(Err(error.clone())));
            if !batch.records.is_empty() {
                return false;
            }
            // Without records nothing can be lost: both copies still get the other changes of the batch.
        }
        self.shared.buffer.swap();
        self.shared.move_time(std::mem::take(&mut self.ahead_ms));
        self.shared.credentials.follow(&self.shared.buffer.front(), batch.records.iter().map(|r| &r.event));
        if let Some(last) = batch.records.last() {
            self.shared.committed.send_replace(last.seq);
        }
        if let Some(last) = batch.records.iter().rfind(|r| r.event.affects_channels()) {
            self.shared.channel_changes.send_replace(last.seq);
        }
        // A caller that is gone can repeat the command to get its answer.
        batch.answers.drain(..).for_each(|(answer, reply)| _ = answer.send(reply));
        batch.records.iter().for_each(|record| milestones::log(&self.shared.buffer.front(), record));
        self.shared.buffer.sync(|swarm, shown| batch.apply(swarm, shown));
        // Checkpoints are better taken while idle, but cannot be postponed forever.
        self.keep_checkpoint(CHECKPOINT_AT_LEAST_EVERY);
        kept.is_ok()
    }

    /// Makes a batch durable. Without records, only checks that this orchestrator still leads.
    fn append(&mut self, batch: &Batch) -> Result<(), EngineError> {
        let Some(first) = batch.records.first() else {
            return self.journal.held().map_err(|error| self.on_journal_error(error));
        };
        let mut pause = Duration::from_millis(50);
        while let Err(error) = self.journal.append(first.seq - 1, &batch.records, &batch.delta) {
            self.report(Some(&error));
            let failure = self.on_journal_error(error.clone());
            if self.deposed {
                return Err(failure);
            }
            if self.stopping {
                return Err(EngineError::Stopped);
            }
            self.reject_while_stalled(pause, &error);
            pause = (pause * 2).min(LONGEST_RETRY);
        }
        self.report(None);
        Ok(())
    }

    /// Takes a checkpoint if at least `events` events followed the last.
    fn keep_checkpoint(&mut self, events: u64) {
        let swarm = self.shared.buffer.front();
        let seq = swarm.seq;
        if seq < self.last_checkpoint + events {
            return;
        }
        let state = checkpoint::encode(&swarm);
        drop(swarm);
        let kept = state
            .map_err(|e| e.to_string())
            .and_then(|s| self.journal.checkpoint(seq, &s).map_err(|e| e.to_string()));
        match kept {
            Ok(()) => self.last_checkpoint = seq,
            // Without a checkpoint, the next start only replays more events.
            Err(error) => tracing::warn!(error, "cannot save a checkpoint"),
        }
    }
}

impl Drop for Worker {
    /// Reports a panic, which ends the engine in the middle of its work; otherwise the process would look
    /// healthy.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let what = "internal error: the engine thread panicked, see the log; restart the orchestrator";
            self.shared.error.send_replace(Some(what.into()));
            self.shared.broken.cancel();
        }
    }
}
