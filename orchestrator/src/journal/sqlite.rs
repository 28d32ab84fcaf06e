//! The embedded journal: one SQLite file, which the `sqlite3` shell can read as well.
//!
//! It uses WAL with `synchronous=FULL`: a committed transaction survives a power failure, and readers do not
//! block the writer. A new file is created under a temporary name and renamed, so an existing file is
//! complete. An empty file has lost its content and is refused.
//!
//! SQLite treats a damaged or missing WAL as one that a crash truncated. Therefore the last
//! acknowledged event is also stored next to it, as a [`Mark`]. A clean shutdown merges the WAL
//! into the file; any other exit, such as a refused start, leaves both unchanged.

mod read;

use super::{
    Journal, JournalError, JournalReader, QueueDelta, Replay, Verified, binding, body, chain, genesis,
    mark::Mark,
};
use read::{SqliteReader, hash_of, walk, whole};
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior, config::DbConfig, params,
};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};
use swarm_common::digest::Digest;
use swarm_core::Record;

/// The format that this version writes, in `PRAGMA user_version`.
const FORMAT: u32 = 1;

/// Number of checkpoints kept: one spare in case the newest is unreadable.
const CHECKPOINTS_KEPT: u32 = 2;

/// How long to wait for another program's lock on the file. Short, because the engine retries anyway and
/// reports the reason to its callers meanwhile.
const LOCKED: Duration = Duration::from_millis(500);

/// Page cache of a connection in KiB (a negative value selects KiB). Small, because the file is
/// only appended to or read sequentially.
const CACHE_KIB: i32 = -256;

const SCHEMA: &str = "
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, body TEXT NOT NULL, hash BLOB NOT NULL
    ) STRICT;
    -- Checkpoints, under the name that they had in the first version.
    CREATE TABLE snapshots (
        seq INTEGER PRIMARY KEY, hash BLOB NOT NULL, state TEXT NOT NULL
    ) STRICT;
";

/// A journal in a SQLite file.
pub struct SqliteJournal {
    connection: Connection,
    path: PathBuf,
    mark: Mark,
    /// Number and hash of the last event.
    end: (u64, Digest),
}

impl SqliteJournal {
    /// Opens a journal, creating it if there is none.
    ///
    /// # Errors
    /// The journal cannot be opened, has an unsupported format, or has disappeared.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let mark = Mark::open(Some(&path.with_extension("mark")))?;
        if !path.try_exists().map_err(|e| unusable(path, &e))? {
            begin(path, &mark)?;
        }
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let explain = |e| explain(path, &e);
        let found: u32 =
            connection.pragma_query_value(None, "user_version", |r| r.get(0)).map_err(explain)?;
        if found > FORMAT {
            return Err(JournalError::Newer { path: path.to_owned(), found, known: FORMAT });
        }
        if found == 0 {
            return Err(damaged(path, "it is empty or a database of another program"));
        }
        // A backup or a recovered file is not in WAL mode.
        connection.pragma_update(None, "journal_mode", "WAL").map_err(explain)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(explain)?;
        Ok(Self { connection, path: path.to_owned(), mark, end: (0, genesis()) })
    }

    /// Copies the journal at `path`, which may be in use, to the file `to`, replacing it, and
    /// verifies the copy.
    ///
    /// # Errors
    /// The journal cannot be read or is damaged, or the copy cannot be written. The old file is
    /// kept then.
    pub fn back_up(path: &Path, to: &Path) -> Result<Verified, JournalError> {
        let new = to.with_extension("new");
        let io = |e: std::io::Error| explain_io(&new, &e);
        match fs::remove_file(&new) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io(e)),
            _ => {}
        }
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.execute("VACUUM INTO ?1", [new.display().to_string()]).map_err(|e| explain(path, &e))?;
        let copy = connect(&new, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let verified = SqliteReader { connection: copy, path: new.clone() }.verify()?;
        File::open(&new).and_then(|file| file.sync_all()).map_err(io)?;
        fs::rename(&new, to).map_err(io)?;
        Ok(verified)
    }

    /// Checks that the last acknowledged event exists.
    fn check_mark(&self) -> Result<(), JournalError> {
        let Some((known, _)) = self.mark.at() else { return Ok(()) };
        if self.mark.fits(hash_of(&self.connection, &self.path, known)?) {
            return Ok(());
        }
        let (found, _) = last(&self.connection, &self.path)?;
        Err(behind(&self.path, known, found))
    }

    /// Records that everything up to this event is durable.
    fn know(&mut self, end: (u64, Digest)) {
        self.end = end;
        self.mark.set(end);
    }

    /// Replays the newest checkpoint that is intact, belongs to the hash chain and can be parsed. Returns the
    /// number and hash of its event.
    fn replay_checkpoint(&self, into: &mut dyn Replay) -> Result<(u64, Digest), JournalError> {
        let explain = |e| explain(&self.path, &e);
        let sql = "SELECT s.seq, e.hash, s.hash, s.state
                   FROM snapshots s LEFT JOIN events e ON e.seq = s.seq ORDER BY s.seq DESC";
        let mut statement = self.connection.prepare(sql).map_err(explain)?;
        let mut rows = statement.query([]).map_err(explain)?;
        let (mut from, mut damaged_ones) = ((0, genesis()), Vec::new());
        while let Some(row) = rows.next().map_err(explain)? {
            let seq: u64 = row.get(0).map_err(explain)?;
            let Some(event) = row.get::<_, Option<Vec<u8>>>(1).map_err(explain)? else {
                return Err(damaged(
                    &self.path,
                    &format!("it has a checkpoint of event {seq}, but not the event"),
                ));
            };
            let event = digest(&self.path, &event)?;
            let Some(state) = whole(row, event).map_err(explain)? else {
                damaged_ones.push(seq);
                continue;
            };
            if into.checkpoint(state) {
                from = (seq, event);
                break;
            }
            tracing::warn!(seq, "cannot use a checkpoint, replaying its events instead");
        }
        for seq in damaged_ones {
            let path = self.path.display();
            tracing::warn!(seq, %path, "removed a damaged checkpoint, replaying its events instead");
            self.connection.execute("DELETE FROM snapshots WHERE seq = ?1", [seq]).map_err(explain)?;
        }
        Ok(from)
    }
}

impl Journal for SqliteJournal {
    fn load(&mut self, into: &mut dyn Replay) -> Result<(), JournalError> {
        self.check_mark()?;
        if self.may_lack() {
            // A copy made during writes can have gaps anywhere.
            self.reader()?.verify()?;
        }
        let from = self.replay_checkpoint(into)?;
        // Do not advance the mark: data written by a killed process may not be on disk yet.
        self.end = walk(&self.connection, &self.path, from, usize::MAX, |r| into.record(r))?;
        Ok(())
    }

    fn may_lack(&self) -> bool {
        self.mark.is_copy() || self.mark.at().is_none()
    }

    fn append(&mut self, expected_seq: u64, records: &[Record], _: &QueueDelta) -> Result<(), JournalError> {
        let path = &self.path;
        let explain = |e| explain(path, &e);
        let mut end = self.end;
        let mut rows = Vec::with_capacity(records.len());
        for record in records {
            let body = body(&record.event).map_err(|e| unusable(path, &e))?;
            end = (record.seq, chain(end.1, record.seq, record.at, body.as_bytes()));
            rows.push((record, body, end.1));
        }
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begun.map_err(explain)?;
        let found = last(&transaction, path)?;
        if found == end {
            // The previous call returned an error but was committed.
            drop(transaction);
            self.know(end);
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
        self.know(end);
        Ok(())
    }

    fn checkpoint(&mut self, seq: u64, state: &str) -> Result<(), JournalError> {
        let path = &self.path;
        let explain = |e| explain(path, &e);
        let transaction = self.connection.transaction().map_err(explain)?;
        let event = hash_of(&transaction, path, seq)?
            .ok_or_else(|| unusable(path, &format!("no event {seq} to save a checkpoint of")))?;
        let insert = "INSERT OR REPLACE INTO snapshots (seq, hash, state) VALUES (?1, ?2, ?3)";
        transaction.execute(insert, params![seq, binding(event, state).0, state]).map_err(explain)?;
        let old =
            "DELETE FROM snapshots WHERE seq NOT IN (SELECT seq FROM snapshots ORDER BY seq DESC LIMIT ?1)";
        transaction.execute(old, [CHECKPOINTS_KEPT]).map_err(explain)?;
        transaction.commit().map_err(explain)
    }

    fn close(&mut self) -> Result<(), JournalError> {
        let busy: bool = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .map_err(|e| explain(&self.path, &e))?;
        if busy {
            return Err(unusable(&self.path, &"it is being read, so its write-ahead log remains"));
        }
        self.mark.sync()
    }

    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError> {
        let connection = connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        Ok(Box::new(SqliteReader { connection, path: self.path.clone() }))
    }
}

/// Creates a new journal under a temporary name and renames it when it is complete.
fn begin(path: &Path, mark: &Mark) -> Result<(), JournalError> {
    let beside = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let log = beside("-wal");
    if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        return Err(damaged(
            path,
            &format!("it is missing, but its write-ahead log {} exists", log.display()),
        ));
    }
    if let Some((known, _)) = mark.at() {
        return Err(behind(path, known, 0));
    }
    let new = beside(".new");
    let io = |e: std::io::Error| explain_io(path, &e);
    for left in [&new, &beside(".new-wal"), &beside(".new-shm")] {
        // The file was left by an interrupted start.
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
    // With this option, closing merges the WAL into the file.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(explain)?;
    connection.close().map_err(|(_, e)| explain(e))?;
    File::open(&new).and_then(|file| file.sync_all()).map_err(io)?;
    fs::rename(&new, path).map_err(io)?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
}

/// Number and hash of the last event in the file.
fn last(connection: &Connection, path: &Path) -> Result<(u64, Digest), JournalError> {
    let sql = "SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1";
    let row = connection
        .prepare_cached(sql)
        .and_then(|mut s| s.query_row([], |r| Ok((r.get(0)?, r.get::<_, Vec<u8>>(1)?))).optional())
        .map_err(|e| explain(path, &e))?;
    row.map_or(Ok((0, genesis())), |(seq, hash)| Ok((seq, digest(path, &hash)?)))
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, JournalError> {
    let connection = Connection::open_with_flags(path, flags).map_err(|e| explain(path, &e))?;
    connection.busy_timeout(LOCKED).map_err(|e| explain(path, &e))?;
    // A refused journal must not change, including its WAL.
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(|e| explain(path, &e))?;
    connection.pragma_update(None, "cache_size", CACHE_KIB).map_err(|e| explain(path, &e))?;
    Ok(connection)
}

fn digest(path: &Path, bytes: &[u8]) -> Result<Digest, JournalError> {
    bytes.try_into().map(Digest).map_err(|_| damaged(path, "a hash is not 32 bytes long"))
}

fn behind(path: &Path, known: u64, found: u64) -> JournalError {
    let what = match found {
        0 => format!("{known} were acknowledged, but it is empty or missing"),
        _ if found < known => format!("{known} were acknowledged, but it ends at event {found}"),
        _ => format!("its event {known} is not the acknowledged one"),
    };
    JournalError::Behind { path: path.to_owned(), what }
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
        // The WAL's shared-memory index cannot grow either, and SQLite does not report why.
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) if is_full(path) => {
            JournalError::NoSpace { path: path.to_owned() }
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(path, &error.to_string()),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            unusable(path, &"it is locked by another program: stop that program, or end its transaction")
        }
        _ => unusable(path, error),
    }
}

/// Whether the file system has no space for the journal or the files next to it to grow.
fn is_full(path: &Path) -> bool {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    rustix::fs::statvfs(folder).is_ok_and(|fs| fs.f_bavail == 0 || (fs.f_files > 0 && fs.f_favail == 0))
}

#[cfg(test)]
mod tests;
