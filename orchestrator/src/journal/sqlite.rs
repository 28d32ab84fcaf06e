//! The embedded journal: one SQLite file, also readable with the `sqlite3` shell.
//!
//! WAL with `synchronous=FULL`: a transaction that has returned survives a power cut, and
//! readers do not hold up the writer.

use super::{Journal, JournalError, JournalReader, Loaded, Verified, chain, genesis};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use std::path::{Path, PathBuf};
use swarm_common::{digest::Digest, time::TimeMs};
use swarm_core::{Event, Record};

/// The format this version writes, in `PRAGMA user_version`.
const FORMAT: u32 = 1;

/// Snapshots kept: one more than needed, should the newest be unreadable.
const SNAPSHOTS_KEPT: u32 = 2;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS events (
        seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, body TEXT NOT NULL, hash BLOB NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS snapshots (
        seq INTEGER PRIMARY KEY, hash BLOB NOT NULL, state TEXT NOT NULL
    ) STRICT;
";

/// A journal in a SQLite file.
pub struct SqliteJournal {
    connection: Connection,
    path: PathBuf,
    seq: u64,
    head: Digest,
}

impl SqliteJournal {
    /// Opens a journal, or begins one where there is none.
    ///
    /// # Errors
    /// It cannot be opened, or is not one that this version can read.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        let explain = |e| explain(path, &e);
        let found: u32 =
            connection.pragma_query_value(None, "user_version", |r| r.get(0)).map_err(explain)?;
        if found > FORMAT {
            return Err(JournalError::Newer { path: path.to_owned(), found, known: FORMAT });
        }
        connection.pragma_update(None, "journal_mode", "WAL").map_err(explain)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(explain)?;
        if found == 0 {
            let tables: u32 = connection
                .query_row("SELECT count(*) FROM sqlite_master", [], |r| r.get(0))
                .map_err(explain)?;
            if tables > 0 {
                return Err(damaged(path, "it is a database of something else"));
            }
            connection.execute_batch(SCHEMA).map_err(explain)?;
            connection.pragma_update(None, "user_version", FORMAT).map_err(explain)?;
        }
        Ok(Self { connection, path: path.to_owned(), seq: 0, head: genesis() })
    }

    /// The newest snapshot that belongs to the chain: its event, hash and state.
    fn newest_snapshot(&self) -> Result<Option<(u64, Digest, String)>, JournalError> {
        let sql = "SELECT s.seq, s.hash, s.state FROM snapshots s JOIN events e ON e.seq = s.seq
                   WHERE e.hash = s.hash ORDER BY s.seq DESC LIMIT 1";
        let row = self
            .connection
            .query_row(sql, [], |r| Ok((r.get::<_, u64>(0)?, r.get::<_, Vec<u8>>(1)?, r.get(2)?)))
            .optional()
            .map_err(|e| explain(&self.path, &e))?;
        row.map(|(seq, hash, state)| Ok((seq, digest(&self.path, &hash)?, state))).transpose()
    }
}

impl Journal for SqliteJournal {
    fn load(&mut self) -> Result<Loaded, JournalError> {
        let snapshot = self.newest_snapshot()?;
        let (from, before) = snapshot.as_ref().map_or((0, genesis()), |(seq, hash, _)| (*seq, *hash));
        let mut records = Vec::new();
        let end = walk(&self.connection, &self.path, (from, before), usize::MAX, |r| records.push(r))?;
        (self.seq, self.head) = end;
        Ok(Loaded { snapshot: snapshot.map(|(_, _, state)| state), records })
    }

    fn append(&mut self, expected_seq: u64, records: &[Record]) -> Result<(), JournalError> {
        if expected_seq != self.seq {
            return Err(JournalError::Moved { expected: expected_seq, found: self.seq });
        }
        let path = &self.path;
        let explain = |e| explain(path, &e);
        let mut head = self.head;
        let mut seq = self.seq;
        let transaction = self.connection.transaction().map_err(explain)?;
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO events (seq, at, body, hash) VALUES (?1, ?2, ?3, ?4)")
                .map_err(explain)?;
            for record in records {
                let body = serde_json::to_string(&record.event).map_err(|e| damaged(path, &e.to_string()))?;
                head = chain(head, record.seq, record.at, body.as_bytes());
                seq = record.seq;
                insert.execute(params![record.seq, record.at.0, body, head.0]).map_err(explain)?;
            }
        }
        transaction.commit().map_err(explain)?;
        (self.seq, self.head) = (seq, head);
        Ok(())
    }

    fn snapshot(&mut self, seq: u64, state: &str) -> Result<(), JournalError> {
        let explain = |e| explain(&self.path, &e);
        let sql = "INSERT OR REPLACE INTO snapshots (seq, hash, state)
                   SELECT seq, hash, ?2 FROM events WHERE seq = ?1";
        self.connection.execute(sql, params![seq, state]).map_err(explain)?;
        let old =
            "DELETE FROM snapshots WHERE seq NOT IN (SELECT seq FROM snapshots ORDER BY seq DESC LIMIT ?1)";
        self.connection.execute(old, [SNAPSHOTS_KEPT]).map_err(explain)?;
        Ok(())
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
        let sql = "SELECT hash FROM events WHERE seq = ?1";
        let hash: Option<Vec<u8>> = self
            .connection
            .query_row(sql, [after], |r| r.get(0))
            .optional()
            .map_err(|e| explain(&self.path, &e))?;
        let before = hash.map_or(Ok(genesis()), |h| digest(&self.path, &h))?;
        let mut records = Vec::new();
        walk(&self.connection, &self.path, (after, before), limit, |r| records.push(r))?;
        Ok(records)
    }

    fn verify(&mut self) -> Result<Verified, JournalError> {
        let (events, head) = walk(&self.connection, &self.path, (0, genesis()), usize::MAX, drop)?;
        Ok(Verified { events, head })
    }
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
    let (mut seq, mut head) = from;
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
        let event: Event = serde_json::from_str(&body)
            .map_err(|e| damaged(path, &format!("event {seq} cannot be read: {e}")))?;
        take(Record { seq, at, event });
    }
    Ok((seq, head))
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, JournalError> {
    let connection = Connection::open_with_flags(path, flags).map_err(|e| explain(path, &e))?;
    connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(|e| explain(path, &e))?;
    Ok(connection)
}

fn digest(path: &Path, bytes: &[u8]) -> Result<Digest, JournalError> {
    bytes.try_into().map(Digest).map_err(|_| damaged(path, "a hash is not 32 bytes long"))
}

fn damaged(path: &Path, what: &str) -> JournalError {
    JournalError::Damaged { path: path.to_owned(), what: what.to_owned() }
}

fn explain(path: &Path, error: &rusqlite::Error) -> JournalError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => JournalError::NoSpace { path: path.to_owned() },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(path, &error.to_string()),
        _ => JournalError::Unusable { path: path.to_owned(), what: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::contract;

    fn journal() -> (tempfile::TempDir, SqliteJournal) {
        let folder = tempfile::tempdir().unwrap();
        let journal = SqliteJournal::open(&folder.path().join("journal.sqlite")).unwrap();
        (folder, journal)
    }

    fn reopen(folder: &tempfile::TempDir) -> Result<SqliteJournal, JournalError> {
        SqliteJournal::open(&folder.path().join("journal.sqlite"))
    }

    fn tamper(folder: &tempfile::TempDir, sql: &str) {
        let connection = Connection::open(folder.path().join("journal.sqlite")).unwrap();
        connection.execute_batch(sql).unwrap();
    }

    #[test]
    fn it_keeps_the_contract() {
        let (folder, journal) = journal();
        contract::check(Box::new(journal), || Box::new(reopen(&folder).unwrap()));
    }

    #[test]
    fn a_changed_event_breaks_the_chain() {
        let (folder, mut journal) = journal();
        journal.load().unwrap();
        journal.append(0, &contract::records(1, 3)).unwrap();
        drop(journal);
        tamper(&folder, "UPDATE events SET at = at + 1 WHERE seq = 2");
        let error = reopen(&folder).unwrap().load().unwrap_err().to_string();
        assert!(error.contains("event 2 does not fit the hash chain"), "{error}");
        assert!(error.contains("restore a backup"), "{error}");
    }

    #[test]
    fn a_missing_event_is_a_gap() {
        let (folder, mut journal) = journal();
        journal.load().unwrap();
        journal.append(0, &contract::records(1, 3)).unwrap();
        drop(journal);
        tamper(&folder, "DELETE FROM events WHERE seq = 2");
        let error = reopen(&folder).unwrap().load().unwrap_err().to_string();
        assert!(error.contains("event 3 follows event 1"), "{error}");
    }

    #[test]
    fn a_newer_format_and_a_foreign_file_are_refused_and_left_alone() {
        let (folder, journal) = journal();
        drop(journal);
        tamper(&folder, "PRAGMA user_version = 99");
        let error = reopen(&folder).err().unwrap().to_string();
        assert!(error.contains("format 99") && error.contains("newer version"), "{error}");
        let path = folder.path().join("other");
        std::fs::write(&path, "this is not a database, but it is long enough to be looked at").unwrap();
        let error = SqliteJournal::open(&path).err().unwrap();
        assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("this is not"));
    }

    #[test]
    fn a_damaged_page_is_found_at_the_start() {
        let (folder, mut journal) = journal();
        journal.load().unwrap();
        journal.append(0, &contract::records(1, 2000)).unwrap();
        drop(journal);
        let path = folder.path().join("journal.sqlite");
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 4096].fill(0x5a);
        std::fs::write(&path, bytes).unwrap();
        let error = reopen(&folder).and_then(|mut j| j.load()).unwrap_err();
        assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
    }
}
