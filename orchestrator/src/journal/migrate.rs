//! Migrates a journal to the other backend: copies every event in order, with its hash chain, while no
//! orchestrator uses either journal. The source is not changed.

use super::{
    Journal, JournalError, Lead, QueueDelta, RedisJournal, RedisSettings, Replay, SqliteJournal, Verified,
};
use crate::{
    random,
    state_dir::{StateDir, StateDirError},
};
use std::{
    fmt,
    path::{Path, PathBuf},
};
use swarm_core::Record;

/// Events copied per batch.
const PIECE: usize = 1000;

/// Source or target of a migration.
#[derive(Debug, Clone)]
pub enum JournalLocation {
    /// A file in an orchestrator's state directory.
    Sqlite(PathBuf),
    Redis(RedisSettings),
}

/// Why a journal was not migrated. The source is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// One of the journals is unusable.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// An orchestrator uses the journal, or its state directory is unusable.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    #[error("an orchestrator ({by}) is using {end}: stop all orchestrators first")]
    Held { end: String, by: String },
    #[error("{0} contains no events: check the path")]
    Nothing(String),
    /// The target is not empty.
    #[error("{end} already contains {events} events: use an empty target, or remove it first")]
    NotEmpty {
        end: String,
        /// Number of events in it.
        events: u64,
    },
    /// The copy differs from the source.
    #[error("the copy in {0} differs from its source; use neither before you know why")]
    Differs(String),
}

impl MigrateError {
    /// Whether the only problem is that an orchestrator is still running.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self, Self::Held { .. } | Self::StateDir(StateDirError::Held { .. }))
    }
}

impl fmt::Display for JournalLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Redis(settings) => match &settings.location {
                super::ServerLocation::Url(url) => write!(f, "{url} (`{}`)", settings.swarm),
                super::ServerLocation::Sentinels { master, .. } => {
                    write!(f, "`{master}` (`{}`)", settings.swarm)
                }
            },
        }
    }
}

impl JournalLocation {
    /// Parses `sqlite:PATH` or `redis://HOST:PORT`.
    ///
    /// # Errors
    /// The text has neither form; the message says what is wrong.
    pub fn parse(text: &str, swarm: &str, password_file: Option<&Path>) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            return Ok(Self::Sqlite(path.into()));
        }
        let why = |why| format!("`{text}`: {why}; expected sqlite:PATH or redis://HOST:PORT");
        if text.contains('@') {
            return Err(why("no password allowed in the address; use --password-file".to_owned()));
        }
        super::redis::check_url(text).map_err(why)?;
        let password_file = password_file.map(Path::to_owned);
        Ok(Self::Redis(RedisSettings { swarm: swarm.into(), password_file, ..RedisSettings::at(text) }))
    }

    fn open(&self) -> Result<Opened, MigrateError> {
        match self {
            Self::Sqlite(path) => {
                let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let held = Some(StateDir::open(folder)?);
                Ok(Opened { journal: Box::new(SqliteJournal::open(path)?), events: 0, _held: held })
            }
            Self::Redis(settings) => {
                // A mark belongs to one machine; a migration takes what the journal has.
                let journal = RedisJournal::open(settings, &random::id(), "journal migrate", None)?;
                Ok(Opened { journal: Box::new(journal), events: 0, _held: None })
            }
        }
    }
}

struct Opened {
    journal: Box<dyn Journal>,
    events: u64,
    _held: Option<StateDir>,
}

/// Counts the events. Rejects checkpoints, so that all events are replayed.
impl Replay for u64 {
    fn checkpoint(&mut self, _: &str) -> bool {
        false
    }
    fn record(&mut self, record: Record) {
        *self = record.seq;
    }
}

fn own(end: &JournalLocation) -> Result<Opened, MigrateError> {
    let mut opened = end.open()?;
    opened.journal.load(&mut opened.events)?;
    if let Lead::Theirs(by) = opened.journal.lead()? {
        let by = by.unwrap_or_else(|| "of unknown address".into());
        return Err(MigrateError::Held { end: end.to_string(), by });
    }
    opened.journal.follow(&mut opened.events)?;
    Ok(opened)
}

/// Copies every event and compares the hash chains. Returns the number of events and the last hash.
///
/// # Errors
/// A journal is in use, the target is not empty, or reading or writing fails.
pub fn migrate(from: &JournalLocation, to: &JournalLocation) -> Result<Verified, MigrateError> {
    if let JournalLocation::Sqlite(path) = from
        && !path.exists()
    {
        return Err(MigrateError::Nothing(from.to_string()));
    }
    let source = own(from)?;
    if source.events == 0 {
        return Err(MigrateError::Nothing(from.to_string()));
    }
    let mut target = own(to)?;
    if target.events > 0 {
        return Err(MigrateError::NotEmpty { end: to.to_string(), events: target.events });
    }
    let mut reader = source.journal.reader()?;
    let mut copied = 0;
    loop {
        let records = reader.records(copied, PIECE)?;
        let Some(last) = records.last().map(|record| record.seq) else { break };
        target.journal.append(copied, &records, &QueueDelta::default())?;
        copied = last;
    }
    target.journal.close()?;
    let (before, after) = (reader.verify()?, target.journal.reader()?.verify()?);
    if before == after { Ok(after) } else { Err(MigrateError::Differs(to.to_string())) }
}
