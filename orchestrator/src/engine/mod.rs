//! The engine: the only thread that changes the state.
//!
//! It takes the waiting commands, decides and applies them in order, appends their events to the
//! journal in one transaction (group commit), and only then answers. A crash therefore cannot undo
//! anything that was answered. While the journal cannot be written, no further batch is decided:
//! the same batch is retried until it succeeds, and new commands are refused with the reason.
//!
//! Readers see a decision only once it is in the journal. Until then they see the previous state, without
//! waiting ([`double_buffer`]).

mod batch;
mod checkpoint;
mod claims;
mod clock;
mod credentials;
mod double_buffer;
mod drift;
mod leadership;
mod maintenance;
mod milestones;
mod restore;
mod stall;
mod standby;
mod time;
mod work;

pub use clock::{Clock, SystemClock};
pub use leadership::Leadership;

use crate::journal::{Journal, JournalError, JournalReader, Verified};
use credentials::Credentials;
use double_buffer::DoubleBuffer;
use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
        mpsc::{RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};
use swarm_common::{
    digest::Digest,
    id::DroneId,
    time::TimeMs,
    wire::{drone::*, view::PassView},
};
use swarm_core::{Command, Policy, Record, Refusal, Reply, Swarm};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Length of the command queue. When it is full, commands are refused.
const QUEUE: usize = 4096;

/// Log a warning if the clock is further behind the journal than this.
const CLOCK_BEHIND_MS: i64 = 60_000;

/// A handle to the engine. Clones are cheap.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    commands: SyncSender<Message>,
}

/// The running engine, to stop it.
pub struct EngineTask {
    commands: SyncSender<Message>,
    thread: std::thread::JoinHandle<()>,
}

/// State shared by the handles and the engine's thread.
struct Shared {
    buffer: DoubleBuffer,
    credentials: Credentials,
    clock: Arc<dyn Clock>,
    /// Added to the clock to get the engine's time, in milliseconds. Set at the start so that the engine's
    /// time never goes back behind the journal's last record; changed after clock corrections and suspends.
    offset_ms: AtomicI64,
    /// The journal's last time before this orchestrator led.
    continued_from: OnceLock<TimeMs>,
    role: watch::Sender<Leadership>,
    error: watch::Sender<Option<String>>,
    /// The reference count minus one is the number of unanswered commands.
    waiting: Arc<()>,
    /// Cancelled when the engine's thread panics.
    broken: CancellationToken,
    maintenance: Mutex<Option<PassView>>,
    committed: watch::Sender<u64>,
    /// Number of the last journaled event that may have changed the published files.
    channel_changes: watch::Sender<u64>,
    /// Number of the last event that changed the content of an index.
    indexed: AtomicU64,
    reader: Reader,
    /// A separate reader, because an audit takes long.
    auditor: Reader,
}

type Reader = Arc<Mutex<Box<dyn JournalReader>>>;

type Answer = oneshot::Sender<Result<Reply, EngineError>>;

enum Message {
    Submit {
        command: Box<Command>,
        key: Option<String>,
        answer: Answer,
    },
    Claim {
        drone: DroneId,
        request: ClaimRequest,
        answer: Answer,
    },
    /// A liveness check: the thread runs this when it takes the message.
    Pulse(Box<dyn FnOnce() + Send>),
    /// Use this policy from now on.
    Policy {
        policy: Box<Policy>,
        answer: Answer,
    },
    Stop,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// The rules do not allow this command.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The journal cannot be written at present, or too many commands are waiting.
    #[error("the orchestrator cannot accept commands at present: {0}")]
    Stalled(String),
    /// Another orchestrator is the leader.
    #[error("this orchestrator is a standby and accepts no commands; {}", leader_words(leader.as_deref()))]
    Standby {
        /// The leader's address, if known.
        leader: Option<String>,
    },
    #[error("the orchestrator is stopping")]
    Stopped,
}

fn leader_words(leader: Option<&str>) -> String {
    match leader {
        Some(leader) => format!("the leader is {leader}"),
        None => "the leader is currently unknown".into(),
    }
}

impl Engine {
    /// Reads the journal and starts the engine.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn start(
        journal: Box<dyn Journal>,
        policy: Policy,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, EngineTask), JournalError> {
        let unread = policy.clone();
        let load = tokio::task::spawn_blocking(move || restore::load(journal, policy));
        let loaded = load.await.map_err(|e| JournalError::Unusable {
            path: "journal".into(),
            what: format!("reading it ended in {e}"),
        })?;
        let (journal, restored) = loaded?;
        let checkpoint = restored.as_ref().map(|restored| restored.checkpoint);
        let swarm = restored.map_or_else(|| Swarm::new(unread), |restored| restored.swarm);
        let shared = Arc::new(Shared {
            offset_ms: AtomicI64::new(0),
            continued_from: OnceLock::new(),
            role: watch::Sender::new(Leadership::Starting),
            reader: Arc::new(Mutex::new(journal.reader()?)),
            auditor: Arc::new(Mutex::new(journal.reader()?)),
            committed: watch::Sender::new(swarm.seq),
            channel_changes: watch::Sender::new(swarm.seq),
            indexed: AtomicU64::new(swarm.seq),
            error: watch::Sender::new(None),
            waiting: Arc::default(),
            broken: CancellationToken::new(),
            maintenance: Mutex::default(),
            credentials: Credentials::of(&swarm),
            buffer: DoubleBuffer::of(swarm),
            clock,
        });
        let (commands, waiting) = sync_channel(QUEUE);
        let worker = work::Worker::new(Arc::clone(&shared), journal, waiting, checkpoint);
        let thread = std::thread::Builder::new().name("engine".into()).spawn(move || worker.run());
        let thread =
            thread.map_err(|e| JournalError::Unusable { path: "engine".into(), what: e.to_string() })?;
        let engine = Self { shared, commands: commands.clone() };
        let (mut role, mut error) = (engine.role(), engine.shared.error.subscribe());
        tokio::select! {
            _ = role.wait_for(|role| *role != Leadership::Starting) => {}
            // The engine starts once the journal can be used; until then status shows the reason.
            _ = error.wait_for(Option::is_some) => {}
        }
        Ok((engine, EngineTask { commands, thread }))
    }

    /// Submits a command and waits until its events are durable. Repeating a command with the same
    /// `key` returns the first answer.
    ///
    /// # Errors
    /// The command was refused, or cannot be carried out now.
    pub async fn submit(&self, command: Command, key: Option<String>) -> Result<Reply, EngineError> {
        let command = Box::new(command);
        let _waits = Arc::clone(&self.shared.waiting);
        self.send(|answer| Message::Submit { command, key, answer }).await
    }

    /// Claims work for a drone, waiting as long as the request allows.
    ///
    /// # Errors
    /// As [`Engine::submit`].
    pub async fn claim(&self, drone: DroneId, request: ClaimRequest) -> Result<ClaimReply, EngineError> {
        match self.send(|answer| Message::Claim { drone, request, answer }).await? {
            Reply::Claim(reply) => Ok(*reply),
            other => Err(EngineError::Stalled(format!("unexpected reply to a claim: {other:?}"))),
        }
    }

    /// The number of commands, without claims, that have not been answered yet.
    #[must_use]
    pub fn commands_waiting(&self) -> usize {
        Arc::strong_count(&self.shared.waiting).saturating_sub(1)
    }

    /// Waits until the engine's thread has processed a message; works even if the journal cannot be written.
    ///
    /// # Errors
    /// The engine has ended, or its queue is full.
    pub async fn pulse(&self) -> Result<(), EngineError> {
        let (answer, wait) = oneshot::channel();
        // The caller may have given up.
        self.put(Message::Pulse(Box::new(move || _ = answer.send(()))))?;
        wait.await.map_err(|_| EngineError::Stopped)
    }

    /// Whether the engine's thread processes a message within `limit`. Blocks, so call this from a dedicated
    /// thread.
    ///
    /// # Errors
    /// The engine has ended, or its queue is full.
    pub fn turns_within(&self, limit: Duration) -> Result<bool, EngineError> {
        let (answer, wait) = sync_channel(1);
        self.put(Message::Pulse(Box::new(move || _ = answer.try_send(()))))?;
        match wait.recv_timeout(limit) {
            Ok(()) => Ok(true),
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(RecvTimeoutError::Disconnected) => Err(EngineError::Stopped),
        }
    }

    /// Replaces the policy for all further decisions. The policy is not part of the journaled
    /// state.
    ///
    /// # Errors
    /// The engine has stopped, or its queue is full.
    pub async fn set_policy(&self, policy: Policy) -> Result<(), EngineError> {
        let policy = Box::new(policy);
        self.send(|answer| Message::Policy { policy, answer }).await.map(drop)
    }

    async fn send(&self, message: impl FnOnce(Answer) -> Message) -> Result<Reply, EngineError> {
        let (answer, wait) = oneshot::channel();
        self.put(message(answer))?;
        wait.await.unwrap_or(Err(EngineError::Stopped))
    }

    fn put(&self, message: Message) -> Result<(), EngineError> {
        self.commands.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) => {
                EngineError::Stalled(self.error().unwrap_or_else(|| format!("{QUEUE} commands are queued")))
            }
            TrySendError::Disconnected(_) => EngineError::Stopped,
        })
    }

    /// Reads the journaled state, without waiting for the engine. `look` must be short: the engine
    /// waits for it after the next batch.
    pub fn read<R>(&self, look: impl FnOnce(&Swarm) -> R) -> R {
        look(&self.shared.buffer.front())
    }

    /// The drone that the credential with this digest acts for.
    #[must_use]
    pub fn drone_of_credential(&self, hash: &Digest) -> Option<DroneId> {
        // Only digests of 256 random bits are compared, so timing reveals nothing useful.
        self.shared.credentials.drone(hash)
    }

    /// Watches the number of the last journaled event.
    #[must_use]
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.shared.committed.subscribe()
    }

    /// Watches the number of the last journaled event that may change the content of a binary
    /// package host.
    #[must_use]
    pub fn channel_changes(&self) -> watch::Receiver<u64> {
        self.shared.channel_changes.subscribe()
    }

    /// The number of the last event that changed the content of a run's index. Assignments made before this
    /// call need nothing from later events.
    #[must_use]
    pub fn last_indexed(&self) -> u64 {
        self.shared.indexed.load(Ordering::Acquire)
    }

    /// Why the journal cannot be written, in one line; `None` if it can.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        self.shared.error.borrow().clone()
    }

    /// Waits until a bug has ended the engine's thread. Nothing can be decided afterwards; the
    /// process must restart.
    pub async fn broken(&self) {
        self.shared.broken.cancelled().await;
    }

    /// Up to `limit` journaled records after event `after`.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn records(&self, after: u64, limit: usize) -> Result<Vec<Record>, JournalError> {
        read_journal(&self.shared.reader, move |reader| reader.records(after, limit)).await
    }

    /// Verifies the hash chain of the whole journal. Also returns other damage, one line each.
    ///
    /// # Errors
    /// The chain is broken, or the journal cannot be read.
    pub async fn audit(&self) -> Result<(Verified, Vec<String>), JournalError> {
        read_journal(&self.shared.auditor, |reader| Ok((reader.verify()?, reader.faults()?))).await
    }
}

async fn read_journal<R: Send + 'static>(
    reader: &Reader,
    read: impl FnOnce(&mut dyn JournalReader) -> Result<R, JournalError> + Send + 'static,
) -> Result<R, JournalError> {
    let reader = Arc::clone(reader);
    let task = tokio::task::spawn_blocking(move || {
        read(reader.lock().unwrap_or_else(PoisonError::into_inner).as_mut())
    });
    let ended =
        |e| JournalError::Unusable { path: "journal".into(), what: format!("reading it ended in {e}") };
    task.await.map_err(ended)?
}

impl EngineTask {
    /// Stops the engine: answers waiting commands, writes a checkpoint and ends the thread. Does not
    /// wait for a journal that cannot be written.
    pub async fn stop(self) {
        // The queue drains, so this waits at most for a free place in it.
        let end = tokio::task::spawn_blocking(move || {
            if self.commands.send(Message::Stop).is_ok() { self.thread.join().is_ok() } else { true }
        });
        if !end.await.unwrap_or(false) {
            tracing::error!("the engine shut down uncleanly");
        }
    }
}

#[cfg(test)]
mod tests;
