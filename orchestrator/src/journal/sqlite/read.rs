//! Reads the embedded journal: events with their hash chain, and integrity checks.

use super::{damaged, digest, explain};
use crate::journal::{
    JournalError, JournalReader, Verified, binding, chain, genesis,
    parallel_decoder::{self, ParallelDecoder},
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::path::{Path, PathBuf};
use swarm_common::{digest::Digest, time::TimeMs};
use swarm_core::Record;

/// A reader that works in parallel with the writer.
pub(super) struct SqliteReader {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
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

    fn faults(&mut self) -> Result<Vec<String>, JournalError> {
        let explain = |e| explain(&self.path, &e);
        let sql = "SELECT s.seq, e.hash, s.hash, s.state FROM snapshots s JOIN events e ON e.seq = s.seq";
        let mut statement = self.connection.prepare(sql).map_err(explain)?;
        let mut rows = statement.query([]).map_err(explain)?;
        let mut faults = Vec::new();
        while let Some(row) = rows.next().map_err(explain)? {
            let seq: u64 = row.get(0).map_err(explain)?;
            let event: Vec<u8> = row.get(1).map_err(explain)?;
            if whole(row, digest(&self.path, &event)?).map_err(explain)?.is_none() {
                let path = self.path.display();
                faults.push(format!(
                    "{path}: the checkpoint of event {seq} is damaged; the events are intact, and the next \
                     start replays them instead"
                ));
            }
        }
        Ok(faults)
    }
}

/// The state of a checkpoint if it is intact. The row has its hash in the third column and the state in the
/// fourth.
pub(super) fn whole<'r>(row: &'r Row<'_>, event: Digest) -> rusqlite::Result<Option<&'r str>> {
    let (hash, state) = (row.get_ref(2)?, row.get_ref(3)?);
    let state = state.as_str().ok();
    Ok(state.filter(|state| hash.as_blob().is_ok_and(|hash| binding(event, state).0 == *hash)))
}

/// The hash of an event, if it exists.
pub(super) fn hash_of(
    connection: &Connection,
    path: &Path,
    seq: u64,
) -> Result<Option<Digest>, JournalError> {
    let sql = "SELECT hash FROM events WHERE seq = ?1";
    let hash: Option<Vec<u8>> =
        connection.query_row(sql, [seq], |r| r.get(0)).optional().map_err(|e| explain(path, &e))?;
    hash.map(|h| digest(path, &h)).transpose()
}

/// Reads up to `limit` events after `from` and verifies number and hash of each. Returns number and hash of
/// the last one.
pub(super) fn walk(
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
    let unknown = |seq, error: &serde_json::Error| JournalError::NewerEvent {
        path: path.to_owned(),
        seq,
        what: error.to_string(),
    };
    let (mut seq, mut head) = from;
    std::thread::scope(|scope| {
        let mut events = ParallelDecoder::new(scope, unknown);
        while let Some(row) = rows.next().map_err(explain)? {
            let found: u64 = row.get(0).map_err(explain)?;
            let at = TimeMs(row.get(1).map_err(explain)?);
            if found != seq + 1 {
                return Err(damaged(path, &format!("event {found} follows event {seq}")));
            }
            seq = found;
            let no_text = |_| damaged(path, &format!("event {seq} is no text"));
            let body = row.get_ref(2).map_err(explain)?.as_str().map_err(no_text)?.to_owned();
            let hash: Vec<u8> = row.get(3).map_err(explain)?;
            head = chain(head, seq, at, body.as_bytes());
            if head.0 != hash[..] {
                return Err(damaged(path, &format!("event {seq} does not match the hash chain")));
            }
            events.give(parallel_decoder::Row { seq, at, body }, &mut take)?;
        }
        events.finish(&mut take)?;
        Ok((seq, head))
    })
}
