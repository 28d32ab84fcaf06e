//! The script that renews the lock and appends events, and its results.

use super::{
    keys::{Keys, queue_index},
    link::Link,
};
use crate::journal::{JournalError, queue::QueueDelta};
use std::{collections::BTreeMap, sync::LazyLock, time::Duration};
use swarm_common::digest::Digest;

/// Members per call inside the script, because Lua passes at most 8,000 values.
const MEMBERS: usize = 5000;

static SCRIPT: LazyLock<redis::Script> = LazyLock::new(|| redis::Script::new(include_str!("script.lua")));

pub(super) struct Term<'a> {
    pub(super) holder: &'a str,
    pub(super) fence: u64,
    /// The lock's lifetime from now on; zero releases it.
    pub(super) life: Duration,
    /// The last acknowledged event after this call.
    pub(super) acked: u64,
}

/// Events to append, and their position.
pub(super) struct Batch<'a> {
    pub(super) after: (u64, Digest),
    pub(super) end: (u64, Digest),
    /// Number, time in milliseconds, body and hash of each event.
    pub(super) rows: Vec<(u64, u64, String, Digest)>,
    pub(super) delta: &'a QueueDelta,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum AppendOutcome {
    /// We still hold the lock.
    Held,
    Kept,
    /// The journal ends at this event, not where the batch begins.
    Moved(u64),
    Lapsed,
    /// Somebody else holds or held the lock.
    Deposed(String),
}

/// Renews the lock and appends the batch, if any.
pub(super) fn run(
    link: &mut Link,
    keys: &Keys,
    term: &Term<'_>,
    batch: Option<&Batch<'_>>,
) -> Result<AppendOutcome, JournalError> {
    let mut call = SCRIPT.prepare_invoke();
    call.key(&keys.lock).key(&keys.fence).key(&keys.events).key(&keys.acked);
    for set in &keys.queue {
        call.key(set);
    }
    let life = u64::try_from(term.life.as_millis()).unwrap_or(u64::MAX);
    call.arg(term.holder).arg(term.fence).arg(life);
    match batch {
        None => {
            call.arg(0).arg("").arg(0).arg("").arg(0).arg(term.acked).arg(0);
        }
        Some(batch) => {
            let reset = u8::from(batch.delta.reset);
            call.arg(batch.after.0).arg(batch.after.1.to_string());
            call.arg(batch.end.0).arg(batch.end.1.to_string());
            call.arg(reset).arg(term.acked).arg(batch.rows.len());
            for (seq, at, body, hash) in &batch.rows {
                call.arg(*seq).arg(*at).arg(body).arg(hash.to_string());
            }
            for ((from, to), members) in alike(batch.delta) {
                for members in members.chunks(MEMBERS) {
                    call.arg(from).arg(to).arg(members.len()).arg(members);
                }
            }
        }
    }
    let reply: Vec<String> = link.with(|c| call.invoke(c))?;
    let word = |at: usize| reply.get(at).cloned().unwrap_or_default();
    Ok(match word(0).as_str() {
        "held" => AppendOutcome::Held,
        "kept" => AppendOutcome::Kept,
        "lapsed" => AppendOutcome::Lapsed,
        "moved" => AppendOutcome::Moved(word(1).split('-').next().and_then(|n| n.parse().ok()).unwrap_or(0)),
        _ => AppendOutcome::Deposed(word(1)),
    })
}

/// Groups members by their old and new state.
fn alike(delta: &QueueDelta) -> BTreeMap<(usize, usize), Vec<&str>> {
    let mut alike = BTreeMap::<_, Vec<_>>::new();
    for (member, from, to) in &delta.moved {
        alike.entry((queue_index(*from), queue_index(*to))).or_default().push(member.as_str());
    }
    alike
}
