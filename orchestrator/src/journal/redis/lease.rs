//! The lock. It is acquired once, renewed by a separate thread, so that it does not expire during a slow
//! batch, and released on shutdown.
//!
//! The lock only says who should write. Exclusive writing is enforced by the script, which checks
//! holder and fence with every batch, so a late renewal does no harm.

use super::{
    keys::Keys,
    link::Link,
    script::{self, AppendOutcome, Term},
    stream,
};
use crate::journal::JournalError;
use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use swarm_common::digest::Digest;

/// Renewals per lifetime of the lock.
const RENEWALS: u32 = 4;

/// A lock held by this orchestrator until another one takes it.
pub(super) struct Lease {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The result of trying to lead.
pub(super) enum LeaseAttempt {
    Ours(Lease),
    /// The id and address of another leader.
    Theirs(String),
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    fence: u64,
    /// Nobody else can take the lock before this time.
    until: Instant,
    end: (u64, Digest),
    /// Why the lock currently cannot be renewed.
    error: Option<JournalError>,
    lost: Option<String>,
    stop: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of the renewal thread.
struct LeaseRenewer {
    shared: Arc<Shared>,
    link: Link,
    keys: Keys,
    holder: String,
    life: Duration,
}

impl Lease {
    /// Acquires the lock if it is free, and keeps renewing it. `end` is the last acknowledged
    /// event.
    pub(super) fn take(
        mut link: Link,
        keys: &Keys,
        holder: &str,
        life: Duration,
        end: (u64, Digest),
    ) -> Result<LeaseAttempt, JournalError> {
        let (fence, until) = match seize(&mut link, keys, holder, life)? {
            Ok(seized) => seized,
            Err(other) => return Ok(LeaseAttempt::Theirs(other)),
        };
        let state = State { fence, until, end, error: None, lost: None, stop: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), wake: Condvar::new() });
        let keeper = LeaseRenewer {
            shared: Arc::clone(&shared),
            link,
            keys: keys.clone(),
            holder: holder.to_owned(),
            life,
        };
        let path = keeper.link.name();
        let thread = std::thread::Builder::new().name("lease".into()).spawn(move || keeper.run());
        let thread = thread.map_err(|e| JournalError::Unusable { path: path.into(), what: e.to_string() })?;
        Ok(LeaseAttempt::Ours(Self { shared, thread: Some(thread) }))
    }

    /// The fence of this term.
    pub(super) fn fence(&self) -> u64 {
        self.shared.lock().fence
    }

    /// Records the last acknowledged event.
    pub(super) fn knows(&self, end: (u64, Digest)) {
        self.shared.lock().end = end;
    }

    /// Checks that no other orchestrator can lead at this moment.
    pub(super) fn held(&self, journal: &str) -> Result<(), JournalError> {
        let state = self.shared.lock();
        if let Some(by) = &state.lost {
            return Err(JournalError::Deposed { by: by.clone() });
        }
        if Instant::now() < state.until {
            return Ok(());
        }
        let lapsed = || JournalError::Away {
            journal: journal.to_owned(),
            what: "the lock expired, acquiring it again".to_owned(),
        };
        Err(state.error.clone().unwrap_or_else(lapsed))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.wake.notify_all();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the lock's thread panicked");
        }
    }
}

impl LeaseRenewer {
    fn run(mut self) {
        let pause = self.life / RENEWALS;
        loop {
            let state = self.shared.lock();
            let waited = self.shared.wake.wait_timeout_while(state, pause, |state| !state.stop);
            let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            let (stop, fence, end) = (state.stop, state.fence, state.end);
            if state.lost.is_some() {
                return;
            }
            drop(state);
            if stop {
                let term = Term { holder: &self.holder, fence, life: Duration::ZERO, acked: end.0 };
                // If this fails, the lock expires by itself.
                let _ = script::run(&mut self.link, &self.keys, &term, None);
                return;
            }
            let renewed = self.renew(fence, end);
            let mut state = self.shared.lock();
            match renewed {
                Ok(Ok((fence, until))) => {
                    (state.fence, state.until, state.error) = (fence, until, None);
                }
                Ok(Err(by)) => state.lost = Some(by),
                Err(error) => state.error = Some(error),
            }
        }
    }

    /// Renews the lock. The inner error is the lock's new holder.
    fn renew(
        &mut self,
        fence: u64,
        end: (u64, Digest),
    ) -> Result<Result<(u64, Instant), String>, JournalError> {
        let began = Instant::now();
        let term = Term { holder: &self.holder, fence, life: self.life, acked: end.0 };
        match script::run(&mut self.link, &self.keys, &term, None)? {
            AppendOutcome::Held | AppendOutcome::Kept | AppendOutcome::Moved(_) => {
                Ok(Ok((fence, began + self.life)))
            }
            AppendOutcome::Deposed(by) => Ok(Err(by)),
            AppendOutcome::Lapsed => self.regain(fence, end),
        }
    }

    /// Reacquires a lock that expired, for example because this process or Redis was suspended. The next
    /// fence shows whether another orchestrator led in between; if not, the term continues with the known
    /// state.
    fn regain(
        &mut self,
        fence: u64,
        end: (u64, Digest),
    ) -> Result<Result<(u64, Instant), String>, JournalError> {
        let is_there = stream::hash_of(&mut self.link, &self.keys, end.0)? == Some(end.1);
        if !is_there {
            let (found, _) = stream::last(&mut self.link, &self.keys)?;
            return Err(JournalError::LostTail { journal: self.link.name(), known: end.0, found });
        }
        match seize(&mut self.link, &self.keys, &self.holder, self.life)? {
            Err(other) => Ok(Err(other)),
            Ok((next, until)) if next == fence + 1 => {
                tracing::warn!(fence = next, "the lock had expired without another leader; continuing");
                Ok(Ok((next, until)))
            }
            Ok((next, _)) => {
                let term = Term { holder: &self.holder, fence: next, life: Duration::ZERO, acked: end.0 };
                script::run(&mut self.link, &self.keys, &term, None)?;
                Ok(Err(format!(
                    "another orchestrator was leader in between (fence {next}, expected {})",
                    fence + 1
                )))
            }
        }
    }
}

/// Acquires a free lock and the next fence. The inner error is the lock's holder.
fn seize(
    link: &mut Link,
    keys: &Keys,
    holder: &str,
    life: Duration,
) -> Result<Result<(u64, Instant), String>, JournalError> {
    let began = Instant::now();
    let life_ms = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
    let taken: Option<String> = link
        .with(|c| redis::cmd("SET").arg(&keys.lock).arg(holder).arg("NX").arg("PX").arg(life_ms).query(c))?;
    if taken.is_none() {
        let other: Option<String> = link.with(|c| redis::cmd("GET").arg(&keys.lock).query(c))?;
        // If the lock has our ID, the response to an earlier attempt was lost, perhaps before the fence was
        // incremented.
        if other.as_deref() != Some(holder) {
            return Ok(Err(other.unwrap_or_else(|| "another client".to_owned())));
        }
    }
    let fence: u64 = link.with(|c| redis::cmd("INCR").arg(&keys.fence).query(c))?;
    Ok(Ok((fence, began + life)))
}
