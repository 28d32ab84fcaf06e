//! The engine's thread: batch, decide, append, answer.

use super::{
    Answer, EngineError, Message, Role, Shared,
    claims::{Next, Parked},
    drift::Drift,
};
use crate::journal::{Journal, JournalError, Moves, Shown};
use std::{
    sync::{
        Arc, PoisonError, RwLockWriteGuard,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};
use swarm_core::{Command, Record, Reply, Request, Swarm};

/// Commands decided before they are written together.
const BATCH: usize = 1024;

/// How often time alone is looked at while it may change something at any moment.
const TICK: Duration = Duration::from_secs(1);

/// How often at least, when nothing is to be expected.
const REST: Duration = Duration::from_secs(10);

/// A pass that comes later than this was held up by more than work.
const STANDSTILL: Duration = Duration::from_secs(5);

/// Events between two snapshots, if there is a pause to make one.
const SNAPSHOT_EVERY: u64 = 10_000;

/// Events after which one is made in the middle of work: it holds everybody up, and so many
/// are replayed in half a second.
const SNAPSHOT_AT_LEAST_EVERY: u64 = 50_000;

/// How long to wait when it is not known whether somebody else leads.
const UNSURE: Duration = Duration::from_millis(100);

/// The longest pause between two tries to write a batch.
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// The thread's state.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) journal: Box<dyn Journal>,
    pub(super) waiting: Receiver<Message>,
    parked: Vec<Parked>,
    last_tick: Instant,
    drift: Drift,
    pub(super) last_snapshot: u64,
    /// The queue as the journal shows it, if it does.
    shown: Option<Shown>,
    /// Whether the journal was read.
    pub(super) loaded: bool,
    stopping: bool,
    /// Another leads now: nothing may be said or written any more.
    pub(super) deposed: bool,
}

/// What one round has decided and not yet written.
#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    moves: Moves,
    answers: Vec<(Answer, Result<Reply, EngineError>)>,
}

impl Worker {
    /// A worker at the beginning. `last_snapshot` is the event of the newest snapshot, if
    /// the journal was read.
    pub(super) fn new(
        shared: Arc<Shared>,
        journal: Box<dyn Journal>,
        waiting: Receiver<Message>,
        last_snapshot: Option<u64>,
    ) -> Self {
        Self {
            parked: Vec::new(),
            last_tick: Instant::now(),
            drift: Drift::default(),
            last_snapshot: last_snapshot.unwrap_or(0),
            shown: journal.shows_queue().then(Shown::default),
            loaded: last_snapshot.is_some(),
            stopping: false,
            deposed: false,
            shared,
            journal,
            waiting,
        }
    }

    /// Follows until it leads, then works until it is told to stop, every handle is gone,
    /// or somebody else leads.
    pub(super) fn run(mut self) {
        if !self.follow() {
            return;
        }
        self.begin();
        while !self.stopping && !self.deposed {
            if let Err(error) = self.journal.held() {
                self.report(Some(&error));
                if let EngineError::Stalled(_) = self.fallen(error.clone()) {
                    self.turn_away(UNSURE, &error);
                }
                continue;
            }
            self.report(None);
            let first = match self.waiting.recv_timeout(self.pause()) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => {
                    self.keep_snapshot(SNAPSHOT_EVERY);
                    None
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let messages: Vec<Message> =
                first.into_iter().chain(self.waiting.try_iter().take(BATCH)).collect();
            let batch = self.decide(messages);
            self.write(batch);
        }
        for parked in self.parked.drain(..) {
            // A caller that has gone needs no answer.
            let _ = parked.answer.send(Err(EngineError::Stopped));
        }
        if !self.deposed {
            self.keep_snapshot(1);
            if let Err(error) = self.journal.close() {
                tracing::warn!(%error, "the journal was not closed in order; nothing is lost");
            }
        }
    }

    /// Notes the start; from then on this orchestrator leads.
    fn begin(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut swarm = shared.swarm.write().unwrap_or_else(PoisonError::into_inner);
        shared.catch_up(swarm.at);
        // Whatever happened before us.
        shared.indexed.store(swarm.seq, Ordering::Release);
        let mut batch = Batch::default();
        if self.journal.may_lack() && swarm.seq > 0 {
            tracing::warn!(
                "the journal was restored or lost events: ids that may have been given out are skipped"
            );
            let _ = self.handle(&mut swarm, &mut batch, Command::SkipIds, None);
        }
        // Starting is never refused.
        let _ = self.handle(&mut swarm, &mut batch, Command::StartOrchestrator, None);
        drop(swarm);
        if self.write(batch) {
            self.take_role(Role::Leader);
        }
    }

    /// How long nothing happens unless someone asks.
    fn pause(&self) -> Duration {
        let now = self.shared.now();
        let due = self.shared.swarm.read().unwrap_or_else(PoisonError::into_inner).next_due();
        // Whether it still leads has to be looked at, too.
        let due = due.filter(|_| !self.journal.is_shared());
        let every = due.map_or(TICK, |due| Duration::from_millis(due.since(now)).clamp(TICK, REST));
        let tick = every.saturating_sub(self.last_tick.elapsed());
        let deadlines = self.parked.iter().map(|p| Duration::from_millis(p.deadline.since(now)));
        deadlines.fold(tick, Duration::min)
    }

    /// Decides everything that waits, then looks again at the claims that had no work.
    fn decide(&mut self, messages: Vec<Message>) -> Batch {
        let shared = Arc::clone(&self.shared);
        let mut swarm = shared.swarm.write().unwrap_or_else(PoisonError::into_inner);
        let mut batch = Batch::default();
        for message in messages {
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
                    let claim = Parked::new(self.shared.now(), drone, request, answer);
                    let newer = "a newer claim of this drone took its place";
                    self.dismiss(&mut batch, newer, |older| claim.replaces(older));
                    self.try_claim(&mut swarm, &mut batch, claim);
                }
                Message::Pulse(answer) => answer(),
                Message::Policy(policy) => swarm.policy = *policy,
                Message::Stop => self.stopping = true,
            }
        }
        let tick = self.last_tick.elapsed() >= TICK;
        if tick {
            let silence = self.last_tick.elapsed();
            self.last_tick = Instant::now();
            let before = batch.records.len();
            if silence > REST + STANDSTILL {
                let for_ms = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(for_ms, "stood still; drones have as much longer to be heard");
                // Neither is refused.
                let _ = self.handle(&mut swarm, &mut batch, Command::NoteStandstill { for_ms }, None);
            }
            if let Some(by_ms) = self.drift.look(self.shared.now(), self.shared.clock.wall(), self.last_tick)
            {
                tracing::warn!(by_ms, "the machine's clock was set; times go by it from now on");
                let _ = self.handle(&mut swarm, &mut batch, Command::SetClock { by_ms }, None);
                self.dismiss(&mut batch, "the clock was set", |_| true);
                self.shared.offset_ms.fetch_add(by_ms, Ordering::Relaxed);
            }
            // Maintaining is never refused.
            let _ = self.handle(&mut swarm, &mut batch, Command::Maintain, None);
            self.shared.note_upkeep(&batch.records[before..]);
        }
        let now = self.shared.now();
        let time_counts = tick && swarm.next_due().is_none();
        if time_counts || !batch.records.is_empty() || self.parked.iter().any(|p| p.deadline <= now) {
            for parked in std::mem::take(&mut self.parked) {
                self.try_claim(&mut swarm, &mut batch, parked);
            }
        }
        if let Some(shown) = &mut self.shown
            && !batch.records.is_empty()
        {
            batch.moves = shown.moves(&swarm, &batch.records);
        }
        if cfg!(debug_assertions)
            && !batch.records.is_empty()
            && let Err(breach) = swarm_core::invariants::check(&swarm)
        {
            tracing::error!(breach, "an invariant is broken");
            debug_assert!(false, "an invariant is broken: {breach}");
        }
        batch
    }

    /// Answers parked claims that need not wait any longer.
    fn dismiss(&mut self, batch: &mut Batch, reason: &str, which: impl FnMut(&Parked) -> bool) {
        let (dismissed, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.parked).into_iter().partition(which);
        self.parked = rest;
        batch.answers.extend(dismissed.into_iter().map(|claim| claim.dismissed(reason)));
    }

    fn try_claim(&mut self, swarm: &mut RwLockWriteGuard<'_, Swarm>, batch: &mut Batch, claim: Parked) {
        if claim.is_abandoned() {
            return;
        }
        let command = Command::Claim { drone: claim.drone, request: claim.request.clone() };
        let reply = self.handle(swarm, batch, command, None);
        match claim.decided(self.shared.now(), reply) {
            Next::Answer(answer, reply) => batch.answers.push((answer, reply)),
            Next::Park(claim) => self.parked.push(claim),
        }
    }

    fn handle(
        &self,
        swarm: &mut RwLockWriteGuard<'_, Swarm>,
        batch: &mut Batch,
        command: Command,
        key: Option<String>,
    ) -> Result<Reply, EngineError> {
        // It spreads retries; without it they come together, which is no harm.
        let entropy = getrandom::u64().unwrap_or_default();
        let request = Request { now: self.shared.now(), entropy, key, command };
        let (records, reply) = swarm.handle(&request)?;
        self.shared.credentials.follow(swarm, records.iter().map(|r| &r.event));
        if let Some(last) = records.iter().rfind(|r| r.event.changes_index()) {
            self.shared.indexed.store(last.seq, Ordering::Release);
        }
        batch.records.extend(records.into_iter().filter(|r| r.event.is_durable()));
        Ok(reply)
    }

    /// Appends a batch, however long that takes, then answers. Whether it was kept.
    fn write(&mut self, batch: Batch) -> bool {
        if let Err(error) = self.append(&batch) {
            for (answer, _) in batch.answers {
                // What is not written was not done.
                let _ = answer.send(Err(error.clone()));
            }
            return false;
        }
        if let Some(last) = batch.records.last() {
            self.shared.committed.send_replace(last.seq);
        }
        if let Some(last) = batch.records.iter().rfind(|r| r.event.may_change_hosts()) {
            self.shared.hosts.send_replace(last.seq);
        }
        for (answer, reply) in batch.answers {
            // A caller that has gone finds its answer when it repeats its command.
            let _ = answer.send(reply);
        }
        // Better in a pause, but not put off for ever.
        self.keep_snapshot(SNAPSHOT_AT_LEAST_EVERY);
        true
    }

    /// Makes a batch durable. Without records it is enough that nobody else leads.
    fn append(&mut self, batch: &Batch) -> Result<(), EngineError> {
        let Some(first) = batch.records.first() else {
            return self.journal.held().map_err(|error| self.fallen(error));
        };
        let mut pause = Duration::from_millis(50);
        while let Err(error) = self.journal.append(first.seq - 1, &batch.records, &batch.moves) {
            self.report(Some(&error));
            let fallen = self.fallen(error.clone());
            if self.deposed {
                return Err(fallen);
            }
            if self.stopping {
                return Err(EngineError::Stopped);
            }
            self.turn_away(pause, &error);
            pause = (pause * 2).min(LONGEST_RETRY);
        }
        self.report(None);
        Ok(())
    }

    /// Tells everybody who asks in the meantime why nothing can be decided.
    fn turn_away(&mut self, pause: Duration, error: &JournalError) {
        let end = Instant::now() + pause;
        while let Ok(message) = self.waiting.recv_timeout(end.saturating_duration_since(Instant::now())) {
            let answer = match message {
                Message::Submit { answer, .. } | Message::Claim { answer, .. } => answer,
                Message::Pulse(answer) => {
                    // Waiting for a disk is no reason to be restarted.
                    answer();
                    continue;
                }
                Message::Policy(policy) => {
                    let mut swarm = self.shared.swarm.write().unwrap_or_else(PoisonError::into_inner);
                    swarm.policy = *policy;
                    continue;
                }
                Message::Stop => {
                    self.stopping = true;
                    return;
                }
            };
            let _ = answer.send(Err(EngineError::Stalled(error.to_string())));
        }
    }

    pub(super) fn report(&self, error: Option<&JournalError>) {
        let trouble = error.map(ToString::to_string);
        self.shared.trouble.send_if_modified(|shown| {
            if *shown == trouble {
                return false;
            }
            match &trouble {
                Some(what) => {
                    tracing::error!(what, "the journal cannot be written; nothing is decided until it can");
                }
                None => tracing::info!("the journal can be written again"),
            }
            *shown = trouble;
            true
        });
    }

    /// Keeps a snapshot if so many events came since the last.
    fn keep_snapshot(&mut self, events: u64) {
        let swarm = self.shared.swarm.read().unwrap_or_else(PoisonError::into_inner);
        let seq = swarm.seq;
        // What is not journaled must not be kept either.
        if seq < self.last_snapshot + events || seq != *self.shared.committed.borrow() {
            return;
        }
        let state = serde_json::to_string(&*swarm);
        drop(swarm);
        let kept = state
            .map_err(|e| e.to_string())
            .and_then(|s| self.journal.snapshot(seq, &s).map_err(|e| e.to_string()));
        match kept {
            Ok(()) => self.last_snapshot = seq,
            // A start then replays more; nothing is lost.
            Err(error) => tracing::warn!(error, "no snapshot could be kept"),
        }
    }
}

impl Drop for Worker {
    /// A defect ends the engine in the middle of something. That must not look like health.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let what = "the engine broke off by a defect, see the log; restart the orchestrator";
            self.shared.trouble.send_replace(Some(what.into()));
            self.shared.broken.cancel();
        }
    }
}
