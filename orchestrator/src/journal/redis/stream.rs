//! Reads the event stream and verifies every number and hash.

use super::{keys::Keys, link::Link};
use crate::journal::{JournalError, chain, genesis};
use std::collections::HashMap;
use swarm_common::{digest::Digest, time::TimeMs};
use swarm_core::{Event, Record};

/// Events read at a time.
const PIECE: usize = 1000;

/// An entry in Redis: id and fields.
type Entry = (String, HashMap<String, String>);

/// Number and hash of the last event; of the genesis if there is none.
pub(super) fn last(link: &mut Link, keys: &Keys) -> Result<(u64, Digest), JournalError> {
    let events = &keys.events;
    let found: Vec<Entry> =
        link.with(|c| redis::cmd("XREVRANGE").arg(events).arg("+").arg("-").arg("COUNT").arg(1).query(c))?;
    found.first().map_or(Ok((0, genesis())), |entry| ends_at(link, entry))
}

/// The hash of an event, if it exists.
pub(super) fn hash_of(link: &mut Link, keys: &Keys, seq: u64) -> Result<Option<Digest>, JournalError> {
    if seq == 0 {
        return Ok(Some(genesis()));
    }
    let (events, id) = (&keys.events, format!("{seq}-0"));
    let found: Vec<Entry> = link.with(|c| redis::cmd("XRANGE").arg(events).arg(&id).arg(&id).query(c))?;
    found.first().map(|entry| ends_at(link, entry).map(|(_, hash)| hash)).transpose()
}

/// Reads up to `limit` events after `from` and verifies number and hash of each. Returns number and hash of
/// the last one.
pub(super) fn walk(
    link: &mut Link,
    keys: &Keys,
    from: (u64, Digest),
    limit: usize,
    mut take: impl FnMut(Record),
) -> Result<(u64, Digest), JournalError> {
    let (mut seq, mut head) = from;
    let mut left = limit;
    while left > 0 {
        let (first, piece) = (format!("{}-0", seq + 1), left.min(PIECE));
        let events = &keys.events;
        let found: Vec<Entry> = link.with(|c| {
            redis::cmd("XRANGE").arg(events).arg(&first).arg("+").arg("COUNT").arg(piece).query(c)
        })?;
        let count = found.len();
        for entry in &found {
            let (number, hash) = ends_at(link, entry)?;
            if number != seq + 1 {
                return Err(damaged(link, &format!("event {number} follows event {seq}")));
            }
            seq = number;
            let at = TimeMs(field(link, entry, "at")?.parse().unwrap_or_default());
            let body = field(link, entry, "event")?;
            head = chain(head, seq, at, body.as_bytes());
            if head != hash {
                return Err(damaged(link, &format!("event {seq} does not match the hash chain")));
            }
            let event: Event = serde_json::from_str(body).map_err(|error| JournalError::NewerEvent {
                path: link.name().into(),
                seq,
                what: error.to_string(),
            })?;
            take(Record { seq, at, event });
        }
        if count < piece {
            break;
        }
        left -= count;
    }
    Ok((seq, head))
}

/// The error for damaged data in Redis.
pub(super) fn damaged(link: &Link, what: &str) -> JournalError {
    let what = format!(
        "it is damaged: {what}; stop every orchestrator and restore Redis' data from a backup or a replica"
    );
    JournalError::Unusable { path: link.name().into(), what }
}

/// Number and hash of an entry.
fn ends_at(link: &Link, entry: &Entry) -> Result<(u64, Digest), JournalError> {
    let seq = entry.0.strip_suffix("-0").and_then(|seq| seq.parse().ok());
    let seq = seq.ok_or_else(|| damaged(link, &format!("an entry has the foreign id {}", entry.0)))?;
    let hash = field(link, entry, "hash")?.parse();
    Ok((seq, hash.map_err(|_| damaged(link, &format!("event {seq} has no hash")))?))
}

fn field<'a>(link: &Link, entry: &'a Entry, name: &str) -> Result<&'a str, JournalError> {
    let found = entry.1.get(name).map(String::as_str);
    found.ok_or_else(|| damaged(link, &format!("the entry {} has no `{name}`", entry.0)))
}
