//! Leader and standby. Of several orchestrators that share a journal, one leads: it executes commands. The
//! others follow the journal, answer reads, and redirect writers to the leader.

use super::{Engine, EngineError, Shared};
use tokio::sync::watch;

/// This orchestrator's role for its journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leadership {
    /// It has not read the journal or recorded its start yet.
    Starting,
    /// It executes commands.
    Leader,
    /// Another orchestrator leads, at this address if known.
    Standby(Option<String>),
    /// It led, but another orchestrator leads now. The process must restart.
    Deposed(String),
}

impl Engine {
    #[must_use]
    pub fn role(&self) -> watch::Receiver<Leadership> {
        self.shared.role.subscribe()
    }

    /// Checks that this orchestrator is the leader, so that it may accept commands and uploads.
    ///
    /// # Errors
    /// The error that a command would get.
    pub fn leads(&self) -> Result<(), EngineError> {
        match self.shared.role.borrow().clone() {
            Leadership::Leader => Ok(()),
            role => Err(self.shared.refusal(role)),
        }
    }

    /// Waits until this orchestrator leads.
    pub async fn leading(&self) {
        let mut role = self.role();
        let _ended = role.wait_for(|role| *role == Leadership::Leader).await;
    }

    /// Waits until another orchestrator has taken over; returns the text that identifies it.
    pub async fn deposed(&self) -> String {
        let mut role = self.role();
        loop {
            if let Leadership::Deposed(by) = &*role.borrow_and_update() {
                return by.clone();
            }
            if role.changed().await.is_err() {
                // Unreachable: `self` keeps the sender alive.
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Shared {
    /// The error for a command in this role.
    pub(super) fn refusal(&self, role: Leadership) -> EngineError {
        match role {
            Leadership::Standby(leader) => EngineError::Standby { leader },
            Leadership::Deposed(_) => EngineError::Standby { leader: None },
            Leadership::Starting | Leadership::Leader => {
                let error = self.error.borrow().clone();
                EngineError::Stalled(error.unwrap_or_else(|| "the orchestrator is starting".into()))
            }
        }
    }
}
