//! Who leads. Of several orchestrators on one journal one leads: it takes commands and does
//! what they lead to. The others follow the journal, answer what is read, and send writers
//! to the leader.

use super::{Answer, Engine, EngineError, Message, Shared, work::Worker};
use crate::journal::{JournalError, Lead, Replay};
use std::{
    sync::{PoisonError, atomic::Ordering, mpsc::RecvTimeoutError},
    time::{Duration, Instant},
};
use swarm_core::Record;
use tokio::sync::watch;

/// Between two looks at the journal of another: how old a standby's answers may be.
const LOOK: Duration = Duration::from_millis(250);

/// What this orchestrator is to its journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It has not read the journal, or not written its start, yet.
    Starting,
    /// It takes commands.
    Leader,
    /// Another takes them, at this address if it is known.
    Standby(Option<String>),
    /// It led, and another does now. The process has to begin anew.
    Deposed(String),
}

impl Engine {
    /// Who leads, to wait on.
    #[must_use]
    pub fn role(&self) -> watch::Receiver<Role> {
        self.shared.role.subscribe()
    }

    /// Whether commands, and what belongs to them, are taken here.
    ///
    /// # Errors
    /// Why not, as a command would be told.
    pub fn leads(&self) -> Result<(), EngineError> {
        match self.shared.role.borrow().clone() {
            Role::Leader => Ok(()),
            role => Err(self.shared.refusal(role)),
        }
    }

    /// Waits until this orchestrator leads.
    pub async fn leading(&self) {
        let mut role = self.role();
        let _ended = role.wait_for(|role| *role == Role::Leader).await;
    }

    /// Waits until another has taken over from this one; says who.
    pub async fn deposed(&self) -> String {
        let mut role = self.role();
        loop {
            if let Role::Deposed(by) = &*role.borrow_and_update() {
                return by.clone();
            }
            if role.changed().await.is_err() {
                // It cannot be: the sender lives as long as we do.
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Shared {
    fn refusal(&self, role: Role) -> EngineError {
        match role {
            Role::Standby(leader) => EngineError::Standby { leader },
            Role::Deposed(_) => EngineError::Standby { leader: None },
            Role::Starting | Role::Leader => {
                let trouble = self.trouble.borrow().clone();
                EngineError::Stalled(trouble.unwrap_or_else(|| "the orchestrator is starting".into()))
            }
        }
    }

    /// Lets no time be earlier than the journal's last.
    pub(super) fn catch_up(&self, journal: swarm_common::time::TimeMs) {
        let behind = i64::try_from(journal.since(self.now())).unwrap_or(i64::MAX);
        self.offset_ms.fetch_add(behind, Ordering::Relaxed);
        if behind > super::CLOCK_BEHIND_MS {
            tracing::warn!(
                behind_ms = behind,
                "the machine's clock is behind the journal; times go on from the journal's last"
            );
        }
    }
}

/// Records that another has appended.
#[derive(Default)]
struct New(Vec<Record>);

impl Replay for New {
    fn snapshot(&mut self, _: &str) -> bool {
        false
    }
    fn record(&mut self, record: Record) {
        self.0.push(record);
    }
}

impl Worker {
    /// Follows the journal until it is ours to append to. False if told to stop before.
    pub(super) fn follow(&mut self) -> bool {
        loop {
            match self.look() {
                Ok(Lead::Ours) => {
                    self.report(None);
                    return true;
                }
                Ok(Lead::Theirs(leader)) => {
                    self.report(None);
                    self.take_role(Role::Standby(leader));
                }
                Err(error) => self.report(Some(&error)),
            }
            if !self.send_away() {
                return false;
            }
        }
    }

    /// Reads what is new and asks to lead. Whatever was appended until the lock was ours is
    /// read too.
    fn look(&mut self) -> Result<Lead, JournalError> {
        if self.loaded {
            self.read_on()?;
        } else {
            let policy = self.shared.swarm.read().unwrap_or_else(PoisonError::into_inner).policy.clone();
            let mut restored = super::restore::Restored::empty(policy);
            self.journal.load(&mut restored)?;
            self.last_snapshot = restored.snapshot;
            let seq = restored.swarm.seq;
            let mut swarm = self.shared.swarm.write().unwrap_or_else(PoisonError::into_inner);
            *swarm = restored.swarm;
            self.shared.credentials.renew(&swarm);
            drop(swarm);
            self.shared.committed.send_replace(seq);
            self.loaded = true;
        }
        let lead = self.journal.lead()?;
        if lead == Lead::Ours {
            self.read_on()?;
        }
        Ok(lead)
    }

    fn read_on(&mut self) -> Result<(), JournalError> {
        let mut new = New::default();
        self.journal.follow(&mut new)?;
        let mut swarm = self.shared.swarm.write().unwrap_or_else(PoisonError::into_inner);
        for record in &new.0 {
            swarm.apply(record);
        }
        self.shared.credentials.follow(&swarm, new.0.iter().map(|r| &r.event));
        let seq = swarm.seq;
        drop(swarm);
        if !new.0.is_empty() {
            self.shared.committed.send_replace(seq);
        }
        Ok(())
    }

    /// Tells everybody who asks until the next look who leads. False if told to stop.
    fn send_away(&mut self) -> bool {
        let end = Instant::now() + LOOK;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let answer: Answer = match self.waiting.recv_timeout(left) {
                Ok(Message::Submit { answer, .. } | Message::Claim { answer, .. }) => answer,
                Ok(Message::Pulse(answer)) => {
                    answer();
                    continue;
                }
                Ok(Message::Policy(policy)) => {
                    self.shared.swarm.write().unwrap_or_else(PoisonError::into_inner).policy = *policy;
                    continue;
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => return true,
            };
            let role = self.shared.role.borrow().clone();
            // A caller that has gone needs no answer.
            let _ = answer.send(Err(self.shared.refusal(role)));
        }
    }

    pub(super) fn take_role(&self, role: Role) {
        self.shared.role.send_if_modified(|shown| {
            if *shown == role {
                return false;
            }
            match &role {
                Role::Starting => {}
                Role::Leader => tracing::info!("this orchestrator leads"),
                Role::Standby(leader) => {
                    let leader = leader.as_deref().unwrap_or("not known");
                    tracing::info!(leader, "this orchestrator is a standby");
                }
                Role::Deposed(by) => {
                    tracing::error!(by, "another orchestrator leads now; this one stops");
                }
            }
            *shown = role;
            true
        });
    }

    /// Why a batch was not kept. If somebody else leads this ends the worker.
    pub(super) fn fallen(&mut self, error: JournalError) -> EngineError {
        match error {
            JournalError::Deposed { by } => {
                self.take_role(Role::Deposed(by));
                self.deposed = true;
                EngineError::Standby { leader: None }
            }
            other => EngineError::Stalled(other.to_string()),
        }
    }
}
