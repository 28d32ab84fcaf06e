//! The engine: the one thread that changes the swarm.
//!
//! It takes the commands that are waiting, decides and applies them in order, appends
//! their events to the journal in one transaction (group commit), and only then answers.
//! So nothing is ever said that a crash can take back. While the journal cannot be
//! written nothing else is decided: the same batch is tried again, everybody who asks is
//! told why, and it goes on by itself.
//!
//! Reading may be ahead of the journal by the batch that is being written. Answers to
//! commands never are. Whoever acts on what it read and cannot take the act back waits
//! until [`Engine::committed`] has reached the `seq` that it read.

mod claims;
mod clock;
mod credentials;
mod drift;
mod restore;
mod role;
mod upkeep;
mod work;

pub use clock::{Clock, SystemClock};
pub use role::Role;

use crate::journal::{Journal, JournalError, JournalReader, Verified};
use credentials::Credentials;
use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock, TryLockError,
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
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::{oneshot, watch},
};
use tokio_util::sync::CancellationToken;

/// Commands that may wait before further ones are turned away.
const QUEUE: usize = 4096;

/// A clock that is this far behind the journal is worth a warning.
const CLOCK_BEHIND_MS: i64 = 60_000;

/// A handle to the engine. Clones are cheap.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    commands: SyncSender<Message>,
}

/// The running engine.
pub struct EngineTask {
    commands: SyncSender<Message>,
    thread: std::thread::JoinHandle<()>,
}

/// What handle and engine both see.
struct Shared {
    swarm: RwLock<Swarm>,
    credentials: Credentials,
    clock: Arc<dyn Clock>,
    /// What times are ahead of the clock (or, negative, behind): at the beginning what it lacked to
    /// be no earlier than the journal, and then what it was wrong.
    offset_ms: AtomicI64,
    role: watch::Sender<Role>,
    trouble: watch::Sender<Option<String>>,
    /// As many more references as there are commands without an answer.
    waiting: Arc<()>,
    /// Cancelled when a defect has ended the engine's thread.
    broken: CancellationToken,
    upkeep: Mutex<Option<PassView>>,
    committed: watch::Sender<u64>,
    /// The last journaled event that may have changed what is published.
    hosts: watch::Sender<u64>,
    /// The last event that changed what an index is to hold.
    indexed: AtomicU64,
    reader: Reader,
    /// Of its own, as an audit takes its time.
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
    /// Answered by the thread itself: it turns.
    Pulse(Box<dyn FnOnce() + Send>),
    /// Decide by these numbers from now on.
    Policy(Box<Policy>),
    Stop,
}

/// Why a command was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// The rules do not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It cannot be written down at present.
    #[error("the orchestrator cannot take commands at present: {0}")]
    Stalled(String),
    /// Another orchestrator takes commands.
    #[error("this orchestrator is a standby and takes no commands; {}", leader_words(leader.as_deref()))]
    Standby {
        /// The leader's address, if it is known.
        leader: Option<String>,
    },
    /// The orchestrator is stopping.
    #[error("the orchestrator is stopping")]
    Stopped,
}

fn leader_words(leader: Option<&str>) -> String {
    match leader {
        Some(leader) => format!("the leader is {leader}"),
        None => "who leads is not known at the moment".into(),
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
        let snapshot = restored.as_ref().map(|restored| restored.snapshot);
        let swarm = restored.map_or_else(|| Swarm::new(unread), |restored| restored.swarm);
        let shared = Arc::new(Shared {
            offset_ms: AtomicI64::new(0),
            role: watch::Sender::new(Role::Starting),
            reader: Arc::new(Mutex::new(journal.reader()?)),
            auditor: Arc::new(Mutex::new(journal.reader()?)),
            committed: watch::Sender::new(swarm.seq),
            hosts: watch::Sender::new(swarm.seq),
            indexed: AtomicU64::new(swarm.seq),
            trouble: watch::Sender::new(None),
            waiting: Arc::default(),
            broken: CancellationToken::new(),
            upkeep: Mutex::default(),
            credentials: Credentials::of(&swarm),
            swarm: RwLock::new(swarm),
            clock,
        });
        let (commands, waiting) = sync_channel(QUEUE);
        let worker = work::Worker::new(Arc::clone(&shared), journal, waiting, snapshot);
        let thread = std::thread::Builder::new().name("engine".into()).spawn(move || worker.run());
        let thread =
            thread.map_err(|e| JournalError::Unusable { path: "engine".into(), what: e.to_string() })?;
        let engine = Self { shared, commands: commands.clone() };
        let (mut role, mut trouble) = (engine.role(), engine.shared.trouble.subscribe());
        tokio::select! {
            _ = role.wait_for(|role| *role != Role::Starting) => {}
            // It begins once the journal can be used; until then status says why not.
            _ = trouble.wait_for(Option::is_some) => {}
        }
        Ok((engine, EngineTask { commands, thread }))
    }

    /// Has a command decided. Answers when its events are durable. `key` makes a repeat
    /// of the same command get the first answer.
    ///
    /// # Errors
    /// It was refused, or cannot be done now.
    pub async fn submit(&self, command: Command, key: Option<String>) -> Result<Reply, EngineError> {
        let command = Box::new(command);
        let _waits = Arc::clone(&self.shared.waiting);
        self.send(|answer| Message::Submit { command, key, answer }).await
    }

    /// Claims work for a drone and waits for it as long as the request says.
    ///
    /// # Errors
    /// As [`Engine::submit`].
    pub async fn claim(&self, drone: DroneId, request: ClaimRequest) -> Result<ClaimReply, EngineError> {
        match self.send(|answer| Message::Claim { drone, request, answer }).await? {
            Reply::Claim(reply) => Ok(*reply),
            other => Err(EngineError::Stalled(format!("a claim was answered with {other:?}"))),
        }
    }

    /// Commands, other than claims, whose answer is not out yet.
    #[must_use]
    pub fn commands_waiting(&self) -> usize {
        Arc::strong_count(&self.shared.waiting).saturating_sub(1)
    }

    /// Waits until the engine's thread has come round, whatever the journal does.
    ///
    /// # Errors
    /// The engine has ended, or cannot even be asked.
    pub async fn pulse(&self) -> Result<(), EngineError> {
        let (answer, wait) = oneshot::channel();
        // Whoever asked may have given up.
        self.put(Message::Pulse(Box::new(move || _ = answer.send(()))))?;
        wait.await.map_err(|_| EngineError::Stopped)
    }

    /// Whether the engine's thread comes round within `limit`; for a thread of its own.
    ///
    /// # Errors
    /// The engine has ended, or cannot even be asked.
    pub fn turns_within(&self, limit: Duration) -> Result<bool, EngineError> {
        let (answer, wait) = sync_channel(1);
        self.put(Message::Pulse(Box::new(move || _ = answer.try_send(()))))?;
        match wait.recv_timeout(limit) {
            Ok(()) => Ok(true),
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(RecvTimeoutError::Disconnected) => Err(EngineError::Stopped),
        }
    }

    /// Has everything after this decided by other numbers. They are no part of the state.
    ///
    /// # Errors
    /// The engine cannot be told at present.
    pub async fn set_policy(&self, policy: Policy) -> Result<(), EngineError> {
        self.put(Message::Policy(Box::new(policy)))?;
        self.pulse().await
    }

    async fn send(&self, message: impl FnOnce(Answer) -> Message) -> Result<Reply, EngineError> {
        let (answer, wait) = oneshot::channel();
        self.put(message(answer))?;
        wait.await.unwrap_or(Err(EngineError::Stopped))
    }

    fn put(&self, message: Message) -> Result<(), EngineError> {
        self.commands.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) => EngineError::Stalled(
                self.trouble().unwrap_or_else(|| format!("{QUEUE} commands are waiting")),
            ),
            TrySendError::Disconnected(_) => EngineError::Stopped,
        })
    }

    /// Looks at the state. `look` must be short: it holds up the engine. While the engine
    /// decides it is waited for, and what else the thread has to do is done by others.
    pub fn read<R>(&self, look: impl FnOnce(&Swarm) -> R) -> R {
        let swarm = match self.shared.swarm.try_read() {
            Ok(swarm) => swarm,
            Err(TryLockError::Poisoned(swarm)) => swarm.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let wait = || self.shared.swarm.read().unwrap_or_else(PoisonError::into_inner);
                match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
                    Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
                    _ => wait(),
                }
            }
        };
        look(&swarm)
    }

    /// Looks at the state, if the engine does not decide just now.
    pub fn try_read<R>(&self, look: impl FnOnce(&Swarm) -> R) -> Option<R> {
        self.shared.swarm.try_read().ok().map(|swarm| look(&swarm))
    }

    /// The drone that the credential with this digest acts for.
    #[must_use]
    pub fn drone_of_credential(&self, hash: &Digest) -> Option<DroneId> {
        // The digest of 256 random bits is compared, so timing tells nothing useful.
        self.shared.credentials.drone(hash)
    }

    /// The engine's time.
    #[must_use]
    pub fn now(&self) -> TimeMs {
        self.shared.now()
    }

    /// What the machine's clock shows, for what is due at a time of day.
    #[must_use]
    pub fn wall(&self) -> TimeMs {
        self.shared.clock.wall()
    }

    /// The number of the last journaled event, to wait on.
    #[must_use]
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.shared.committed.subscribe()
    }

    /// The number of the last journaled event after which some binary package host may have
    /// to hold something else, to wait on.
    #[must_use]
    pub fn hosts(&self) -> watch::Receiver<u64> {
        self.shared.hosts.subscribe()
    }

    /// The number of the last event that changed what a run's index is to hold. Whoever was
    /// given work before this is asked needs nothing that a later event brought.
    #[must_use]
    pub fn last_indexed(&self) -> u64 {
        self.shared.indexed.load(Ordering::Acquire)
    }

    /// Why the journal cannot be written at present, in one line; `None` if it can.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.shared.trouble.borrow().clone()
    }

    /// Waits until a defect has ended the engine's thread, which in order it never does.
    /// Nothing can be decided any more; the process has to begin anew.
    pub async fn broken(&self) {
        self.shared.broken.cancelled().await;
    }

    /// Up to `limit` journaled records after event `after`.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn records(&self, after: u64, limit: usize) -> Result<Vec<Record>, JournalError> {
        read_journal(&self.shared.reader, move |reader| reader.records(after, limit)).await
    }

    /// Checks the hash chain of the whole journal. What is damaged beside the events comes
    /// with it, one line each.
    ///
    /// # Errors
    /// Where it breaks.
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
    /// Stops the engine: what waits is answered, a snapshot is written, the thread ends.
    /// A journal that cannot be written is not waited for.
    pub async fn stop(self) {
        // A full queue drains, so this waits for a place in it at most.
        let end = tokio::task::spawn_blocking(move || {
            if self.commands.send(Message::Stop).is_ok() { self.thread.join().is_ok() } else { true }
        });
        if !end.await.unwrap_or(false) {
            tracing::error!("the engine did not end in order");
        }
    }
}

impl Shared {
    fn now(&self) -> TimeMs {
        TimeMs(self.clock.now().0.saturating_add_signed(self.offset_ms.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests;
