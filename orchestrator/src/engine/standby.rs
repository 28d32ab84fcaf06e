//! What the engine does until it leads: it follows the journal and redirects writers.

use super::{Answer, EngineError, Leadership, Message, work::Worker};
use crate::journal::{JournalError, Lead, Replay};
use std::{
    sync::mpsc::RecvTimeoutError,
    time::{Duration, Instant},
};
use swarm_core::{Record, Reply, Swarm};

/// How often a standby reads the leader's journal. Its answers are at most this old.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(250);

/// Records that the leader has appended.
#[derive(Default)]
struct NewRecords(Vec<Record>);

impl Replay for NewRecords {
    fn checkpoint(&mut self, _: &str) -> bool {
        false
    }
    fn record(&mut self, record: Record) {
        self.0.push(record);
    }
}

impl Worker {
    /// Follows the journal until this orchestrator may append to it. Returns false if stopped first.
    pub(super) fn follow(&mut self) -> bool {
        loop {
            match self.poll_journal() {
                Ok(Lead::Ours) => {
                    self.report(None);
                    return true;
                }
                Ok(Lead::Theirs(leader)) => {
                    self.report(None);
                    self.set_leadership(Leadership::Standby(leader));
                }
                Err(error) => self.report(Some(&error)),
            }
            if !self.redirect_to_leader() {
                return false;
            }
        }
    }

    /// Reads new records and tries to become the leader. On success, also reads what was appended
    /// until the lock was taken.
    fn poll_journal(&mut self) -> Result<Lead, JournalError> {
        if self.loaded {
            self.apply_new_records()?;
        } else {
            let policy = self.shared.buffer.front().policy.clone();
            let mut restored = super::restore::Restored::empty(policy);
            self.journal.load(&mut restored)?;
            self.last_checkpoint = restored.checkpoint;
            let seq = restored.swarm.seq;
            *self.shared.buffer.back() = restored.swarm.clone();
            self.shared.buffer.swap_and_sync(|swarm, _| *swarm = restored.swarm);
            self.shared.credentials.renew(&self.shared.buffer.front());
            self.shared.committed.send_replace(seq);
            self.loaded = true;
        }
        let lead = self.journal.lead()?;
        if lead == Lead::Ours {
            self.apply_new_records()?;
        }
        Ok(lead)
    }

    fn apply_new_records(&mut self) -> Result<(), JournalError> {
        let mut new = NewRecords::default();
        self.journal.follow(&mut new)?;
        let Some(last) = new.0.last() else { return Ok(()) };
        let apply = |swarm: &mut Swarm, shown: Option<&Swarm>| {
            new.0.iter().for_each(|record| swarm.apply_like(record, shown));
        };
        apply(&mut self.shared.buffer.back(), None);
        self.shared.buffer.swap_and_sync(|swarm, shown| apply(swarm, Some(shown)));
        self.shared.credentials.follow(&self.shared.buffer.front(), new.0.iter().map(|r| &r.event));
        self.shared.committed.send_replace(last.seq);
        Ok(())
    }

    /// Refuses commands and names the leader until the next poll. Returns false if stopped.
    fn redirect_to_leader(&mut self) -> bool {
        let end = Instant::now() + FOLLOW_INTERVAL;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let answer: Answer = match self.waiting.recv_timeout(left) {
                Ok(Message::Submit { answer, .. } | Message::Claim { answer, .. }) => answer,
                Ok(Message::Pulse(answer)) => {
                    answer();
                    continue;
                }
                Ok(Message::Policy { policy, answer }) => {
                    self.shared.buffer.back().policy = (*policy).clone();
                    self.shared.buffer.swap_and_sync(|swarm, _| swarm.policy = *policy);
                    // The caller may be gone.
                    let _ = answer.send(Ok(Reply::Done));
                    continue;
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => return true,
            };
            let role = self.shared.role.borrow().clone();
            // The caller may be gone.
            let _ = answer.send(Err(self.shared.refusal(role)));
        }
    }

    pub(super) fn set_leadership(&self, role: Leadership) {
        self.shared.role.send_if_modified(|shown| {
            if *shown == role {
                return false;
            }
            match &role {
                Leadership::Starting => {}
                Leadership::Leader => tracing::info!("this orchestrator is the leader"),
                Leadership::Standby(leader) => {
                    let leader = leader.as_deref().unwrap_or("not known");
                    tracing::info!(leader, "this orchestrator is a standby");
                }
                Leadership::Deposed(by) => {
                    tracing::error!(by, "another orchestrator took over as leader, stopping");
                }
            }
            *shown = role;
            true
        });
    }

    /// The error for a batch that was not written. Marks the worker as deposed if another orchestrator leads.
    pub(super) fn on_journal_error(&mut self, error: JournalError) -> EngineError {
        match error {
            JournalError::Deposed { by } => {
                self.set_leadership(Leadership::Deposed(by));
                self.deposed = true;
                EngineError::Standby { leader: None }
            }
            other => EngineError::Stalled(other.to_string()),
        }
    }
}
