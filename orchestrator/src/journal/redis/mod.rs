//! The journal on Redis, for several orchestrators: a stream of events to which only the holder of
//! a lock with the newest fence can append. docs/handbook.md describes the required Redis
//! configuration and its guarantees.
//!
//! - [`link`]: connections and errors. [`keys`]: key names.
//! - [`settings`]: how it is configured. [`lease`]: the lock. [`script`]: appending. [`stream`]: reading.

mod keys;
mod lease;
mod link;
mod script;
mod settings;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use link::check_url;
pub(crate) use settings::LOCK;
pub use settings::{RedisSettings, ServerLocation};

use super::{
    Journal, JournalError, JournalReader, Lead, QueueDelta, Replay, Verified, body, chain, genesis,
    mark::Mark,
};
use keys::{FORMAT, Keys};
use lease::{Lease, LeaseAttempt};
use link::Link;
use script::{AppendOutcome, Batch, Term};
use std::{path::Path, time::Duration};
use swarm_common::digest::Digest;
use swarm_core::Record;

/// Number of checkpoints kept: one spare in case the newest is unreadable.
const CHECKPOINTS_KEPT: usize = 2;

/// Time limit for replicas to confirm a batch.
const CONFIRM_MS: u64 = 2000;

pub struct RedisJournal {
    link: Link,
    keys: Keys,
    /// The value of the lock while this orchestrator leads: a random id and the address.
    holder: String,
    life: Duration,
    wait_replicas: u32,
    mark: Mark,
    /// Number and hash of the last event read or written.
    end: (u64, Digest),
    lease: Option<Lease>,
}

impl RedisJournal {
    /// Opens a journal without reading it. `id` is random and `address` is this orchestrator's address;
    /// `mark` is the file of the high-water mark.
    ///
    /// # Errors
    /// The password or the mark cannot be read.
    pub fn open(
        settings: &RedisSettings,
        id: &str,
        address: &str,
        mark: Option<&Path>,
    ) -> Result<Self, JournalError> {
        Ok(Self {
            link: Link::new(settings)?,
            keys: Keys::of(&settings.swarm),
            holder: format!("{id} {address}"),
            life: Duration::from_millis(settings.lock_ms),
            wait_replicas: settings.wait_replicas,
            mark: Mark::open(mark)?,
            end: (0, genesis()),
            lease: None,
        })
    }

    fn check_format(&mut self) -> Result<(), JournalError> {
        let format = &self.keys.format;
        let found: Option<u32> = self.link.with(|c| redis::cmd("GET").arg(format).query(c))?;
        // Check that the key is a stream before reading it.
        let events = &self.keys.events;
        let _: u64 = self.link.with(|c| redis::cmd("XLEN").arg(events).query(c))?;
        match found {
            Some(found) if found > FORMAT => {
                Err(JournalError::Newer { path: self.link.name().into(), found, known: FORMAT })
            }
            _ => Ok(()),
        }
    }

    /// Checks that an event known to have existed still exists. If it does not, Redis has lost events.
    fn check_known(&mut self, known: (u64, Digest)) -> Result<(), JournalError> {
        if stream::hash_of(&mut self.link, &self.keys, known.0)? == Some(known.1) {
            return Ok(());
        }
        let (found, _) = stream::last(&mut self.link, &self.keys)?;
        Err(self.lost(known.0, found))
    }

    /// Checks that the events which this machine's mark shows as acknowledged exist.
    fn check_mark(&mut self) -> Result<(), JournalError> {
        self.mark.at().map_or(Ok(()), |known| self.check_known(known))
    }

    fn lost(&self, known: u64, found: u64) -> JournalError {
        JournalError::LostTail { journal: self.link.name(), known, found }
    }

    /// Replays the newest checkpoint that is intact, belongs to the hash chain and can be parsed.
    fn replay_checkpoint(&mut self, into: &mut dyn Replay) -> Result<(u64, Digest), JournalError> {
        let key = self.keys.checkpoints.clone();
        let mut kept: Vec<u64> = self.link.with(|c| redis::cmd("HKEYS").arg(&key).query(c))?;
        kept.sort_unstable_by(|a, b| b.cmp(a));
        for seq in kept {
            let Some(event) = stream::hash_of(&mut self.link, &self.keys, seq)? else {
                let (found, _) = stream::last(&mut self.link, &self.keys)?;
                return Err(self.lost(seq, found));
            };
            let found: Option<String> = self.link.with(|c| redis::cmd("HGET").arg(&key).arg(seq).query(c))?;
            let whole = found
                .as_deref()
                .and_then(|text| text.split_once('\n'))
                .filter(|(hash, state)| hash.parse() == Ok(super::binding(event, state)));
            if let Some((_, state)) = whole
                && into.checkpoint(state)
            {
                return Ok((seq, event));
            }
            tracing::warn!(seq, "cannot use a checkpoint, replaying its events instead");
        }
        Ok((0, genesis()))
    }

    /// Reads new events: all of them as the leader; otherwise only acknowledged ones, because a Redis
    /// failover may revert the rest.
    fn read_on(&mut self, into: &mut dyn Replay) -> Result<(), JournalError> {
        let leads = self.lease.is_some();
        let limit = if leads {
            usize::MAX
        } else {
            let key = &self.keys.acked;
            let acked: Option<u64> = self.link.with(|c| redis::cmd("GET").arg(key).query(c))?;
            let new = acked.unwrap_or(0).saturating_sub(self.end.0);
            usize::try_from(new).unwrap_or(usize::MAX)
        };
        let end = stream::walk(&mut self.link, &self.keys, self.end, limit, |r| into.record(r))?;
        if leads {
            self.end = end;
        } else {
            self.know(end);
        }
        Ok(())
    }

    /// Records that everything up to this event is acknowledged.
    fn know(&mut self, end: (u64, Digest)) {
        self.end = end;
        self.mark.set(end);
        if let Some(lease) = &self.lease {
            lease.knows(end);
        }
    }

    /// Waits until the configured number of replicas has the data.
    fn confirm(&mut self) -> Result<(), JournalError> {
        let required = self.wait_replicas;
        if required == 0 {
            return Ok(());
        }
        let found: u32 = self.link.with(|c| redis::cmd("WAIT").arg(required).arg(CONFIRM_MS).query(c))?;
        if found >= required {
            return Ok(());
        }
        let what = format!("{found} of {required} replicas confirmed the batch, retrying");
        Err(JournalError::Away { journal: self.link.name(), what })
    }
}

impl Journal for RedisJournal {
    fn load(&mut self, into: &mut dyn Replay) -> Result<(), JournalError> {
        self.check_format()?;
        self.check_mark()?;
        self.end = self.replay_checkpoint(into)?;
        self.read_on(into)
    }

    fn follow(&mut self, into: &mut dyn Replay) -> Result<(), JournalError> {
        self.check_known(self.end)?;
        self.read_on(into)
    }

    fn lead(&mut self) -> Result<Lead, JournalError> {
        match self.held() {
            Ok(()) => return Ok(Lead::Ours),
            Err(JournalError::Deposed { .. }) => self.lease = None,
            Err(error) => return Err(error),
        }
        self.check_known(self.end)?;
        let link = self.link.another();
        Ok(match Lease::take(link, &self.keys, &self.holder, self.life, self.end)? {
            LeaseAttempt::Theirs(other) => {
                let address = other.split_once(' ').map(|(_, address)| address.to_owned());
                Lead::Theirs(address.filter(|address| !address.is_empty()))
            }
            LeaseAttempt::Ours(lease) => {
                self.lease = Some(lease);
                let format = &self.keys.format;
                self.link.with(|c| redis::cmd("SET").arg(format).arg(FORMAT).query::<()>(c))?;
                Lead::Ours
            }
        })
    }

    fn may_lack(&self) -> bool {
        self.mark.is_copy()
    }

    fn held(&self) -> Result<(), JournalError> {
        match &self.lease {
            Some(lease) => lease.held(&self.link.name()),
            None => Err(JournalError::Deposed { by: "nobody: the lock was never ours".into() }),
        }
    }

    fn shows_queue(&self) -> bool {
        true
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn append(
        &mut self,
        expected_seq: u64,
        records: &[Record],
        delta: &QueueDelta,
    ) -> Result<(), JournalError> {
        let Some(lease) = &self.lease else {
            return Err(JournalError::Deposed { by: "nobody: the lock was never ours".into() });
        };
        if expected_seq != self.end.0 {
            return Err(JournalError::Moved { expected: expected_seq, found: self.end.0 });
        }
        let mut end = self.end;
        let mut rows = Vec::with_capacity(records.len());
        for record in records {
            let unusable = |e: serde_json::Error| JournalError::Unusable {
                path: self.link.name().into(),
                what: e.to_string(),
            };
            let body = body(&record.event).map_err(unusable)?;
            end = (record.seq, chain(end.1, record.seq, record.at, body.as_bytes()));
            rows.push((record.seq, record.at.0, body, end.1));
        }
        // Without replicas to wait for, this call acknowledges the batch itself.
        let acked = if self.wait_replicas == 0 { end.0 } else { self.end.0 };
        let term = Term { holder: &self.holder, fence: lease.fence(), life: self.life, acked };
        let batch = Batch { after: self.end, end, rows, delta };
        match script::run(&mut self.link, &self.keys, &term, Some(&batch))? {
            AppendOutcome::Kept => {
                self.confirm()?;
                self.know(end);
                Ok(())
            }
            AppendOutcome::Moved(found) => {
                self.check_mark()?;
                let by = format!("the journal ends at event {found}, expected {}", self.end.0);
                Err(JournalError::Deposed { by })
            }
            AppendOutcome::Deposed(by) => Err(JournalError::Deposed { by }),
            AppendOutcome::Lapsed | AppendOutcome::Held => {
                // The renewal thread reacquires the lock and may already know the outcome.
                lease.held(&self.link.name())?;
                self.check_mark()?;
                let what = "the lock expired, acquiring it again".to_owned();
                Err(JournalError::Away { journal: self.link.name(), what })
            }
        }
    }

    fn checkpoint(&mut self, seq: u64, state: &str) -> Result<(), JournalError> {
        let event = stream::hash_of(&mut self.link, &self.keys, seq)?;
        let missing = || JournalError::Unusable {
            path: self.link.name().into(),
            what: format!("no event {seq} to save a checkpoint of"),
        };
        let event = event.filter(|_| seq > 0).ok_or_else(missing)?;
        let key = &self.keys.checkpoints;
        let text = format!("{}\n{state}", super::binding(event, state));
        self.link.with(|c| redis::cmd("HSET").arg(key).arg(seq).arg(&text).query::<()>(c))?;
        let mut kept: Vec<u64> = self.link.with(|c| redis::cmd("HKEYS").arg(key).query(c))?;
        kept.sort_unstable_by(|a, b| b.cmp(a));
        for old in kept.into_iter().skip(CHECKPOINTS_KEPT) {
            self.link.with(|c| redis::cmd("HDEL").arg(key).arg(old).query::<()>(c))?;
        }
        Ok(())
    }

    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError> {
        Ok(Box::new(RedisReader { link: self.link.another(), keys: self.keys.clone() }))
    }
}

struct RedisReader {
    link: Link,
    keys: Keys,
}

impl JournalReader for RedisReader {
    fn records(&mut self, after: u64, limit: usize) -> Result<Vec<Record>, JournalError> {
        let Some(before) = stream::hash_of(&mut self.link, &self.keys, after)? else {
            return Ok(Vec::new());
        };
        let mut records = Vec::new();
        stream::walk(&mut self.link, &self.keys, (after, before), limit, |r| records.push(r))?;
        Ok(records)
    }

    fn verify(&mut self) -> Result<Verified, JournalError> {
        let from = (0, genesis());
        let (events, head) = stream::walk(&mut self.link, &self.keys, from, usize::MAX, drop)?;
        Ok(Verified { events, head })
    }
}
