//! The embedded journal: one SQLite file, also readable with the `sqlite3` shell.
//!
//! WAL with `synchronous=FULL`: a transaction that has returned survives a power cut, and
//! readers do not hold up the writer. A new file is made aside and renamed, so a file that
//! is there is whole: an empty one has lost its content and is refused, not begun anew.

use super::{
    Journal, JournalError, JournalReader, Moves, Replay, Verified, binding, chain, genesis,
    parsing::{Parsing, Row},
};
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params,
};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};
use swarm_common::{digest::Digest, time::TimeMs};
use swarm_core::Record;

/// The format this version writes, in `PRAGMA user_version`.
const FORMAT: u32 = 1;

/// Snapshots kept: one more than needed, should the newest be unreadable.
const SNAPSHOTS_KEPT: u32 = 2;

/// How long to wait for another program that has the file locked. The engine tries again
/// by itself and tells its callers why in the meantime, so this is short.
const LOCKED: Duration = Duration::from_millis(500);

/// What a connection may keep of the file in memory, in KiB (negative: not in pages). It only adds
/// at the end, or reads on.
const CACHE_KIB: i32 = -256;

const SCHEMA: &str = "
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, body TEXT NOT NULL, hash BLOB NOT NULL
    ) STRICT;
    CREATE TABLE snapshots (
        seq INTEGER PRIMARY KEY, hash BLOB NOT NULL, state TEXT NOT NULL
    ) STRICT;
";

/// A journal in a SQLite file.
pub struct SqliteJournal {
    connection: Connection,
    path: PathBuf,
    /// Number and hash of the last event.
    end: (u64, Digest),
}

impl SqliteJournal {
    /// Opens a journal, or begins one where there is none.
    ///
    /// # Errors
    /// It cannot be opened, or is not one that this version can read.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        if !path.try_exists().map_err(|e| unusable(path, &e))? {
            begin(path)?;
        }
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let explain = |e| explain(path, &e);
        let found: u32 =
            connection.pragma_query_value(None, "user_version", |r| r.get(0)).map_err(explain)?;
        if found > FORMAT {
            return Err(JournalError::Newer { path: path.to_owned(), found, known: FORMAT });
        }
        if found == 0 {
            return Err(damaged(path, "it is empty, or a database of something else"));
        }
        connection.pragma_update(None, "synchronous", "FULL").map_err(explain)?;
        Ok(Self { connection, path: path.to_owned(), end: (0, genesis()) })
    }

    /// Hands over the newest snapshot that is whole, belongs to the chain and is wanted.
    /// Gives the number and hash of its event.
    fn replay_snapshot(&self, into: &mut dyn Replay) -> Result<(u64, Digest), JournalError> {
        let explain = |e| explain(&self.path, &e);
        let sql = "SELECT s.seq, e.hash, s.hash, s.state
                   FROM snapshots s LEFT JOIN events e ON e.seq = s.seq ORDER BY s.seq DESC";
        let mut statement = self.connection.prepare(sql).map_err(explain)?;
        let mut rows = statement.query([]).map_err(explain)?;
        while let Some(row) = rows.next().map_err(explain)? {
            let seq: u64 = row.get(0).map_err(explain)?;
            let Some(event) = row.get::<_, Option<Vec<u8>>>(1).map_err(explain)? else {
                return Err(damaged(
                    &self.path,
                    &format!("it has a snapshot of event {seq} without the event"),
                ));
            };
            let event = digest(&self.path, &event)?;
            let hash: Vec<u8> = row.get(2).map_err(explain)?;
            let state: String = row.get(3).map_err(explain)?;
            if binding(event, &state).0 == hash[..] && into.snapshot(&state) {
                return Ok((seq, event));
            }
            tracing::warn!(seq, "a snapshot cannot be used; the events before it are replayed instead");
        }
        Ok((0, genesis()))
    }
}

impl Journal for SqliteJournal {
    fn load(&mut self, into: &mut dyn Replay) -> Result<(), JournalError> {
        let from = self.replay_snapshot(into)?;
        self.end = walk(&self.connection, &self.path, from, usize::MAX, |r| into.record(r))?;
        Ok(())
    }

    fn append(&mut self, expected_seq: u64, records: &[Record], _: &Moves) -> Result<(), JournalError> {
        let path = &self.path;
        let explain = |e| explain(path, &e);
        let mut end = self.end;
        let mut rows = Vec::with_capacity(records.len());
        for record in records {
            let body = serde_json::to_string(&record.event).map_err(|e| unusable(path, &e))?;
            end = (record.seq, chain(end.1, record.seq, record.at, body.as_bytes()));
            rows.push((record, body, end.1));
        }
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begun.map_err(explain)?;
        let found = last(&transaction, path)?;
        if found == end {
            // The try before this one said it failed, and yet it did not.
            self.end = end;
            return Ok(());
        }
        if expected_seq != self.end.0 || found != self.end {
            return Err(JournalError::Moved { expected: expected_seq, found: found.0 });
        }
        {
            let sql = "INSERT INTO events (seq, at, body, hash) VALUES (?1, ?2, ?3, ?4)";
            let mut insert = transaction.prepare_cached(sql).map_err(explain)?;
            for (record, body, hash) in rows {
                insert.execute(params![record.seq, record.at.0, body, hash.0]).map_err(explain)?;
            }
        }
        transaction.commit().map_err(explain)?;
        self.end = end;
        Ok(())
    }

    fn snapshot(&mut self, seq: u64, state: &str) -> Result<(), JournalError> {
        let path = &self.path;
        let explain = |e| explain(path, &e);
        let transaction = self.connection.transaction().map_err(explain)?;
        let event = hash_of(&transaction, path, seq)?
            .ok_or_else(|| unusable(path, &format!("there is no event {seq} to keep a snapshot of")))?;
        let insert = "INSERT OR REPLACE INTO snapshots (seq, hash, state) VALUES (?1, ?2, ?3)";
        transaction.execute(insert, params![seq, binding(event, state).0, state]).map_err(explain)?;
        let old =
            "DELETE FROM snapshots WHERE seq NOT IN (SELECT seq FROM snapshots ORDER BY seq DESC LIMIT ?1)";
        transaction.execute(old, [SNAPSHOTS_KEPT]).map_err(explain)?;
        transaction.commit().map_err(explain)
    }

    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError> {
        let connection = connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        Ok(Box::new(SqliteReader { connection, path: self.path.clone() }))
    }
}

struct SqliteReader {
    connection: Connection,
    path: PathBuf,
}

impl JournalReader for SqliteReader {
    fn records(&mut self, after: u64, limit: usize) -> Result<Vec<Record>, JournalError> {
        let before = hash_of(&self.connection, &self.path, after)?.unwrap_or_else(genesis);
        let mut records = Vec::new();
        walk(&self.connection, &self.path, (after, before), limit, |r| records.push(r))?;
        Ok(records)
    }

    fn verify(&mut self) -> Result<Verified, JournalError> {
        let (events, head) = walk(&self.connection, &self.path, (0, genesis()), usize::MAX, drop)?;
        Ok(Verified { events, head })
    }
}

/// Makes a new journal under another name and gives it its own when it is whole.
fn begin(path: &Path) -> Result<(), JournalError> {
    let beside = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let log = beside("-wal");
    if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        return Err(damaged(path, &format!("it is gone, but its log {} is there", log.display())));
    }
    let new = beside(".new");
    let io = |e: std::io::Error| explain_io(path, &e);
    for left in [&new, &beside(".new-wal"), &beside(".new-shm")] {
        // What a start that was broken off has left.
        match fs::remove_file(left) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io(e)),
            _ => {}
        }
    }
    let explain = |e| explain(path, &e);
    let connection = connect(&new, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(explain)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(explain)?;
    connection
        .execute_batch(&format!("BEGIN; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT"))
        .map_err(explain)?;
    // Closing brings the log into the file.
    connection.close().map_err(|(_, e)| explain(e))?;
    File::open(&new).and_then(|file| file.sync_all()).map_err(io)?;
    fs::rename(&new, path).map_err(io)?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
}

/// Number and hash of the last event in the file.
fn last(transaction: &Transaction<'_>, path: &Path) -> Result<(u64, Digest), JournalError> {
    let sql = "SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1";
    let row = transaction
        .prepare_cached(sql)
        .and_then(|mut s| s.query_row([], |r| Ok((r.get(0)?, r.get::<_, Vec<u8>>(1)?))).optional())
        .map_err(|e| explain(path, &e))?;
    row.map_or(Ok((0, genesis())), |(seq, hash)| Ok((seq, digest(path, &hash)?)))
}

fn hash_of(connection: &Connection, path: &Path, seq: u64) -> Result<Option<Digest>, JournalError> {
    let sql = "SELECT hash FROM events WHERE seq = ?1";
    let hash: Option<Vec<u8>> =
        connection.query_row(sql, [seq], |r| r.get(0)).optional().map_err(|e| explain(path, &e))?;
    hash.map(|h| digest(path, &h)).transpose()
}

/// Reads up to `limit` events after `from`, checking number and hash of each. Gives where
/// it ended.
fn walk(
    connection: &Connection,
    path: &Path,
    from: (u64, Digest),
    limit: usize,
    mut take: impl FnMut(Record),
) -> Result<(u64, Digest), JournalError> {
    let explain = |e| explain(path, &e);
    let sql = "SELECT seq, at, body, hash FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    let mut statement = connection.prepare_cached(sql).map_err(explain)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![from.0, limit]).map_err(explain)?;
    let unreadable =
        |seq: u64, e: &serde_json::Error| damaged(path, &format!("event {seq} cannot be read: {e}"));
    let (mut seq, mut head) = from;
    std::thread::scope(|scope| {
        let mut parsing = Parsing::new(scope, unreadable);
        while let Some(row) = rows.next().map_err(explain)? {
            let found: u64 = row.get(0).map_err(explain)?;
            let at = TimeMs(row.get(1).map_err(explain)?);
            let body: String = row.get(2).map_err(explain)?;
            let hash: Vec<u8> = row.get(3).map_err(explain)?;
            if found != seq + 1 {
                return Err(damaged(path, &format!("event {found} follows event {seq}")));
            }
            seq = found;
            head = chain(head, seq, at, body.as_bytes());
            if head.0 != hash[..] {
                return Err(damaged(path, &format!("event {seq} does not fit the hash chain")));
            }
            parsing.give(Row { seq, at, body }, &mut take)?;
        }
        parsing.finish(&mut take)?;
        Ok((seq, head))
    })
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, JournalError> {
    let connection = Connection::open_with_flags(path, flags).map_err(|e| explain(path, &e))?;
    connection.busy_timeout(LOCKED).map_err(|e| explain(path, &e))?;
    connection.pragma_update(None, "cache_size", CACHE_KIB).map_err(|e| explain(path, &e))?;
    Ok(connection)
}

fn digest(path: &Path, bytes: &[u8]) -> Result<Digest, JournalError> {
    bytes.try_into().map(Digest).map_err(|_| damaged(path, "a hash is not 32 bytes long"))
}

fn damaged(path: &Path, what: &str) -> JournalError {
    JournalError::Damaged { path: path.to_owned(), what: what.to_owned() }
}

fn unusable(path: &Path, what: &dyn std::fmt::Display) -> JournalError {
    JournalError::Unusable { path: path.to_owned(), what: what.to_string() }
}

fn explain_io(path: &Path, error: &std::io::Error) -> JournalError {
    match error.kind() {
        std::io::ErrorKind::StorageFull => JournalError::NoSpace { path: path.to_owned() },
        _ => unusable(path, error),
    }
}

fn explain(path: &Path, error: &rusqlite::Error) -> JournalError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => JournalError::NoSpace { path: path.to_owned() },
        // The shared index of the log cannot grow either, and SQLite does not say why.
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) if is_full(path) => {
            JournalError::NoSpace { path: path.to_owned() }
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(path, &error.to_string()),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            unusable(path, &"another program has it locked: close it, or end its transaction")
        }
        _ => unusable(path, error),
    }
}

/// Whether the file system has no room left for the file to grow, or for files beside it.
fn is_full(path: &Path) -> bool {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    rustix::fs::statvfs(folder).is_ok_and(|fs| fs.f_bavail == 0 || (fs.f_files > 0 && fs.f_favail == 0))
}

#[cfg(test)]
mod tests;
