//! The append-only, hash-chained list of events: what the swarm is, on disk.
//!
//! A journal keeps records and the newest snapshots, and nothing else: it knows no rule.
//! [`sqlite`] is the embedded one, [`redis`] the one for several orchestrators. Every
//! journal passes the same contract suite (`contract`).

#[cfg(test)]
pub(crate) mod contract;
mod mark;
pub mod migrate;
mod parsing;
mod queue;
mod redis;
mod settings;
mod sqlite;

pub use queue::{Moves, Shown};
pub use redis::RedisJournal;
pub use settings::{JournalSettings, Place, RedisSettings};
pub use sqlite::SqliteJournal;

use mark::Mark;
use std::path::{Path, PathBuf};
use swarm_common::{digest::Digest, time::TimeMs};
use swarm_core::Record;

/// Where records go and come from.
pub trait Journal: Send {
    /// Replays what a start needs: the newest snapshot that can be used, and the records
    /// after it. Must come before anything is appended.
    ///
    /// # Errors
    /// A journal that is damaged or has a gap. Nothing is repaired and nothing new is
    /// begun beside it.
    fn load(&mut self, into: &mut dyn Replay) -> Result<(), JournalError>;

    /// Adds records in one transaction, durably: when this returns, a power cut does not
    /// take them back.
    ///
    /// # Errors
    /// The journal does not end at `expected_seq`, or cannot be written; then none of the
    /// records is kept, and the same call may be made again. Should a try have been kept
    /// in spite of its error, the next one finds that and is content.
    ///
    /// `moves` is for people who look at the queue; see [`Journal::shows_queue`].
    fn append(&mut self, expected_seq: u64, records: &[Record], moves: &Moves) -> Result<(), JournalError>;

    /// Whether it wants to be told which packages changed their state.
    fn shows_queue(&self) -> bool {
        false
    }

    /// Whether another orchestrator may take it over while it is ours.
    fn is_shared(&self) -> bool {
        false
    }

    /// Whether more may have been acknowledged than it holds: it is restored, or its loss was
    /// accepted. Asked once, before anything is appended.
    fn may_lack(&self) -> bool {
        false
    }

    /// Asks to be the one who appends. A journal that only one process can open says yes.
    ///
    /// # Errors
    /// It cannot be asked, or lost events that were acknowledged.
    fn lead(&mut self) -> Result<Lead, JournalError> {
        Ok(Lead::Ours)
    }

    /// Whether nobody else can append at this moment.
    ///
    /// # Errors
    /// [`JournalError::Deposed`] if somebody else can; anything else if that is not known.
    fn held(&self) -> Result<(), JournalError> {
        Ok(())
    }

    /// Hands over the records that others appended since the last load or follow.
    ///
    /// # Errors
    /// They cannot be read, or what was read before is not there any more.
    fn follow(&mut self, _into: &mut dyn Replay) -> Result<(), JournalError> {
        Ok(())
    }

    /// Keeps the state after event `seq`, as JSON, so that a start need not replay what
    /// came before.
    ///
    /// # Errors
    /// It cannot be written.
    fn snapshot(&mut self, seq: u64, state: &str) -> Result<(), JournalError>;

    /// Ends the work in order: whoever copies its files from now on has all of it.
    ///
    /// # Errors
    /// The disk fails. Nothing is lost; the next start finds it as after a crash.
    fn close(&mut self) -> Result<(), JournalError> {
        Ok(())
    }

    /// A second way in, for reading beside the writer.
    ///
    /// # Errors
    /// It cannot be opened.
    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError>;
}

/// Who appends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lead {
    /// We do, until [`Journal::held`] says otherwise.
    Ours,
    /// Somebody else, at this address if it is known.
    Theirs(Option<String>),
}

/// The file of the embedded journal.
#[must_use]
pub fn file(state_dir: &Path) -> PathBuf {
    state_dir.join("journal.sqlite")
}

/// The journal that the settings name. `own_address` is where others reach this
/// orchestrator, unless the settings say so. With `accept_loss` whatever it holds counts,
/// even if more was acknowledged.
///
/// # Errors
/// It cannot be opened.
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
    Ok(Box::new(RedisJournal::open(redis, &crate::random::id(), address, &mark)?))
}

/// Reading beside the writer.
pub trait JournalReader: Send {
    /// Up to `limit` records after event `after`.
    ///
    /// # Errors
    /// They cannot be read.
    fn records(&mut self, after: u64, limit: usize) -> Result<Vec<Record>, JournalError>;

    /// Checks the hash chain from the first event to the last.
    ///
    /// # Errors
    /// Where it breaks.
    fn verify(&mut self) -> Result<Verified, JournalError>;

    /// What is damaged of that which is kept beside the events and follows from them.
    ///
    /// # Errors
    /// It cannot be read.
    fn faults(&mut self) -> Result<Vec<String>, JournalError> {
        Ok(Vec::new())
    }
}

/// What a start replays into.
pub trait Replay {
    /// Begins with this state, as JSON, if it can be read; says whether it can.
    fn snapshot(&mut self, state: &str) -> bool;

    /// What happened next.
    fn record(&mut self, record: Record);
}

/// A journal whose chain is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// How many events it has.
    pub events: u64,
    /// Hash of the last.
    pub head: Digest,
}

/// What can be wrong with a journal.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// The disk is full.
    #[error("no space left for the journal {path}: free some; nothing was lost, and it goes on by itself")]
    NoSpace {
        /// The journal.
        path: PathBuf,
    },
    /// Its content is not what was written.
    #[error(
        "the journal {path} is damaged: {what}; keep a copy, then restore a backup, or recover what is readable with `sqlite3 {path} .recover`"
    )]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// A newer version wrote it.
    #[error(
        "the journal {path} has format {found}, and this version reads up to {known}: start the newer version"
    )]
    Newer {
        /// The journal.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// Someone else has written to it.
    #[error(
        "the journal ends at event {found} where {expected} was expected: another orchestrator writes to it"
    )]
    Moved {
        /// Where the writer thought it ends.
        expected: u64,
        /// Where it ends.
        found: u64,
    },
    /// It cannot be reached, so nothing is known about its state.
    #[error("the journal {journal} does not answer: {what}; nothing was lost, and it goes on by itself")]
    Away {
        /// The journal.
        journal: String,
        /// What happened.
        what: String,
    },
    /// Somebody else appends now.
    #[error("another orchestrator leads now: {by}")]
    Deposed {
        /// Who.
        by: String,
    },
    /// It came back with less than it had.
    #[error(
        "the journal {journal} lost acknowledged events: event {known} was there, and it ends at {found}; \
         nothing is written until its data is restored from a replica or a backup. To accept the loss, see \
         `Redis lost events` in the handbook"
    )]
    LostTail {
        /// The journal.
        journal: String,
        /// An event that was there.
        known: u64,
        /// Where it ends.
        found: u64,
    },
    /// The files hold less than was acknowledged.
    #[error(
        "the journal {path} lost acknowledged events: {what}. Nothing was changed: restore the whole state \
         directory from its newest backup, or start once with --accept-new to go on with what is there; what \
         was lost is then built again"
    )]
    Behind {
        /// The journal.
        path: PathBuf,
        /// How far it goes, and how far it went.
        what: String,
    },
    /// Anything else.
    #[error("the journal {path} cannot be used: {what}")]
    Unusable {
        /// The journal.
        path: PathBuf,
        /// What the system said.
        what: String,
    },
}

impl JournalError {
    /// Whether the journal may be usable later without a change of ours, so that a start
    /// waits for it. Serving what is published needs no journal.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Away { .. } | Self::LostTail { .. })
    }
}

/// The hash of a record: of the hash before it, its number, its time and its body.
#[must_use]
pub fn chain(before: Digest, seq: u64, at: TimeMs, body: &[u8]) -> Digest {
    Digest::of_fields([&before.0[..], &seq.to_be_bytes(), &at.0.to_be_bytes(), body])
}

/// What ties a snapshot to its event, and shows that it is as it was written.
fn binding(event: Digest, state: &str) -> Digest {
    Digest::of_fields([&event.0[..], state.as_bytes()])
}

/// The hash before the first record.
#[must_use]
pub fn genesis() -> Digest {
    Digest::of(b"build-swarm journal 1")
}
