//! The append-only, hash-chained log of events, from which the swarm's state is rebuilt.
//!
//! A journal stores records and the latest checkpoints and knows no rules. [`sqlite`] is embedded; [`redis`]
//! is for several orchestrators. All journals pass the same contract tests (`contract`).

#[cfg(test)]
pub(crate) mod contract;
mod mark;
pub mod migrate;
mod parallel_decoder;
mod queue;
mod redis;
mod settings;
mod sqlite;

pub use queue::{QueueDelta, QueueMirror};
pub use redis::{RedisJournal, RedisSettings, ServerLocation};
pub use settings::JournalSettings;
pub use sqlite::SqliteJournal;

use mark::Mark;
use serde::ser::Error as _;
use std::{
    io,
    path::{Path, PathBuf},
};
use swarm_common::{digest::Digest, time::TimeMs};
use swarm_core::{Event, Record};

/// Durable storage of the records: appending, replaying, checkpoints, and the choice of the single writer.
pub trait Journal: Send {
    /// Replays what a start needs: the newest usable checkpoint and the records after it. Call this before
    /// appending anything.
    ///
    /// # Errors
    /// The journal is damaged or has a gap. Nothing is repaired, and no new journal is started.
    fn load(&mut self, into: &mut dyn Replay) -> Result<(), JournalError>;

    /// Appends records durably in one transaction: once this returns, they survive a power failure.
    ///
    /// # Errors
    /// The journal does not end at `expected_seq`, or cannot be written. None of the records is stored then,
    /// and the same call can be repeated. If a call stored them despite its error, the next call detects that
    /// and succeeds.
    ///
    /// `delta` is for displaying the queue; see [`Journal::shows_queue`].
    fn append(
        &mut self,
        expected_seq: u64,
        records: &[Record],
        delta: &QueueDelta,
    ) -> Result<(), JournalError>;

    /// Whether this journal displays the queue and so needs the packages' state changes.
    fn shows_queue(&self) -> bool {
        false
    }

    /// Whether another orchestrator can take over this journal while it is open.
    fn is_shared(&self) -> bool {
        false
    }

    /// Whether more events may have been acknowledged than the journal contains, because it was restored or a
    /// loss was accepted. Called once, before anything is appended.
    fn may_lack(&self) -> bool {
        false
    }

    /// Tries to become the writer. Always succeeds for a journal that only one process can open.
    ///
    /// # Errors
    /// The journal is unreachable, or has lost acknowledged events.
    fn lead(&mut self) -> Result<Lead, JournalError> {
        Ok(Lead::Ours)
    }

    /// Checks that no other orchestrator can append at this moment.
    ///
    /// # Errors
    /// [`JournalError::Deposed`] if another one can; any other error if that is unknown.
    fn held(&self) -> Result<(), JournalError> {
        Ok(())
    }

    /// Replays the records that others appended since the last `load` or `follow`.
    ///
    /// # Errors
    /// The records cannot be read, or records read earlier are gone.
    fn follow(&mut self, _into: &mut dyn Replay) -> Result<(), JournalError> {
        Ok(())
    }

    /// Stores the state after event `seq` as JSON, so that a start does not replay earlier events.
    ///
    /// # Errors
    /// The checkpoint cannot be written.
    fn checkpoint(&mut self, seq: u64, state: &str) -> Result<(), JournalError>;

    /// Shuts down cleanly, so that files copied afterwards are complete.
    ///
    /// # Errors
    /// The disk fails. Nothing is lost; the next start recovers as after a crash.
    fn close(&mut self) -> Result<(), JournalError> {
        Ok(())
    }

    /// Opens a reader that works in parallel with the writer.
    ///
    /// # Errors
    /// The journal cannot be opened.
    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lead {
    /// This orchestrator, until [`Journal::held`] says otherwise.
    Ours,
    /// Another orchestrator, with its address if known.
    Theirs(Option<String>),
}

/// The file of the embedded journal.
#[must_use]
pub fn file(state_dir: &Path) -> PathBuf {
    state_dir.join("journal.sqlite")
}

/// Opens the journal selected by the settings. `own_address` is this orchestrator's address for
/// others, unless the settings contain one. With `accept_loss`, the journal's content is accepted
/// even if more was acknowledged.
///
/// # Errors
/// The journal cannot be opened.
pub fn open(
    settings: &JournalSettings,
    state_dir: &Path,
    own_address: &str,
    accept_loss: bool,
) -> Result<Box<dyn Journal>, JournalError> {
    let mark = match &settings.redis {
        None => state_dir.join("journal.mark"),
        Some(redis) => state_dir.join(format!("journal-{}.mark", redis.swarm)),
    };
    if accept_loss {
        Mark::discard(&mark)?;
    }
    let Some(redis) = &settings.redis else {
        return Ok(Box::new(SqliteJournal::open(&file(state_dir))?));
    };
    let address = redis.address.as_deref().unwrap_or(own_address);
    Ok(Box::new(RedisJournal::open(redis, &crate::random::id(), address, Some(&mark))?))
}

/// Reads in parallel with the writer.
pub trait JournalReader: Send {
    /// Up to `limit` records after event `after`.
    ///
    /// # Errors
    /// The records cannot be read.
    fn records(&mut self, after: u64, limit: usize) -> Result<Vec<Record>, JournalError>;

    /// Verifies the hash chain from the first event to the last.
    ///
    /// # Errors
    /// The chain is broken; the error says where.
    fn verify(&mut self) -> Result<Verified, JournalError>;

    /// Damage in derived data that is stored in addition to the events.
    ///
    /// # Errors
    /// The data cannot be read.
    fn faults(&mut self) -> Result<Vec<String>, JournalError> {
        Ok(Vec::new())
    }
}

pub trait Replay {
    /// Starts from this state (JSON). Returns whether it could be parsed.
    fn checkpoint(&mut self, state: &str) -> bool;

    fn record(&mut self, record: Record);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    pub events: u64,
    /// Hash of the last event.
    pub head: Digest,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    #[error(
        "no space left for the journal {path}: free space; no data was lost, and work resumes \
             automatically"
    )]
    NoSpace { path: PathBuf },
    #[error(
        "the journal {path} is damaged: {what}; keep a copy, then restore a backup or recover the readable \
         part with `sqlite3 {path} .recover`"
    )]
    Damaged { path: PathBuf, what: String },
    /// The journal was written by a newer version.
    #[error(
        "the journal {path} has format {found}, but this version supports up to {known}: use a newer \
         version"
    )]
    Newer { path: PathBuf, found: u32, known: u32 },
    /// An event is intact, as its hash shows, but this version cannot parse it.
    #[error(
        "the journal {path} was written by a newer version: cannot read its event {seq} ({what}); upgrade this \
         orchestrator"
    )]
    NewerEvent { path: PathBuf, seq: u64, what: String },
    /// Another process has written to the journal.
    #[error("the journal ends at event {found}, expected {expected}: another orchestrator writes to it")]
    Moved {
        /// The last event that the writer expected in the journal.
        expected: u64,
        /// The last event that is in the journal.
        found: u64,
    },
    /// The journal is unreachable, so its state is unknown.
    #[error("the journal {journal} is unavailable: {what}; no data was lost, and work resumes automatically")]
    Away { journal: String, what: String },
    #[error("another orchestrator is the leader now: {by}")]
    Deposed { by: String },
    /// The journal has lost events.
    #[error(
        "the journal {journal} lost acknowledged events: event {known} was acknowledged, but it ends at \
         {found}; nothing is written until its data is restored from a replica or a backup. To accept the \
         loss, see `Redis lost events` in the handbook"
    )]
    LostTail {
        journal: String,
        /// An event that the journal had.
        known: u64,
        /// The last event that it has now.
        found: u64,
    },
    /// The files contain fewer events than were acknowledged.
    #[error(
        "the journal {path} lost acknowledged events: {what}. Nothing was changed: restore the whole state \
         directory from its newest backup, or start once with --accept-new to continue with the current \
         data; lost packages are then rebuilt"
    )]
    Behind {
        path: PathBuf,
        /// Where the journal ends, and where it must end.
        what: String,
    },
    #[error("cannot use the journal {path}: {what}")]
    Unusable { path: PathBuf, what: String },
}

impl JournalError {
    /// Whether the journal may become usable without intervention, so that a start should wait. Published
    /// packages can be served without a journal.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Away { .. } | Self::LostTail { .. })
    }
}

/// Serialises an event. The buffer is allocated at its exact size, because growing it for a large plan can
/// take twice as much memory.
fn body(event: &Event) -> Result<String, serde_json::Error> {
    if !matches!(event, Event::PlanReceived { .. }) {
        return serde_json::to_string(event);
    }
    let mut counted = Counted(0);
    serde_json::to_writer(&mut counted, event)?;
    let mut text = Vec::with_capacity(counted.0);
    serde_json::to_writer(&mut text, event)?;
    String::from_utf8(text).map_err(serde_json::Error::custom)
}

struct Counted(usize);

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The hash of a record, computed from the previous hash, the sequence number, the time and the
/// body.
#[must_use]
pub fn chain(before: Digest, seq: u64, at: TimeMs, body: &[u8]) -> Digest {
    Digest::of_fields([&before.0[..], &seq.to_be_bytes(), &at.0.to_be_bytes(), body])
}

/// Hash that binds a checkpoint to its event and detects damage to it.
fn binding(event: Digest, state: &str) -> Digest {
    Digest::of_fields([&event.0[..], state.as_bytes()])
}

/// The hash that precedes the first record.
#[must_use]
pub fn genesis() -> Digest {
    Digest::of(b"build-swarm journal 1")
}
