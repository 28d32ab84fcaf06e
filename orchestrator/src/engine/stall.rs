//! What the engine does while the journal cannot be written.

use super::{EngineError, Message, work::Worker};
use crate::journal::JournalError;
use std::time::{Duration, Instant};
use swarm_core::Reply;

impl Worker {
    /// Refuses commands with `error` for the length of `pause`.
    pub(super) fn reject_while_stalled(&mut self, pause: Duration, error: &JournalError) {
        let end = Instant::now() + pause;
        let rest = || end.saturating_duration_since(Instant::now());
        while let Some(message) =
            self.undecided.pop_front().or_else(|| self.waiting.recv_timeout(rest()).ok())
        {
            let answer = match message {
                Message::Submit { answer, .. } | Message::Claim { answer, .. } => answer,
                Message::Pulse(answer) => {
                    // A slow disk must not make the watchdog restart the process.
                    answer();
                    continue;
                }
                Message::Policy { policy, answer } => {
                    self.policy = Some(*policy);
                    let _ = answer.send(Ok(Reply::Done));
                    continue;
                }
                Message::Stop => {
                    self.stopping = true;
                    return;
                }
            };
            let _ = answer.send(Err(EngineError::Stalled(error.to_string())));
        }
    }

    pub(super) fn report(&self, error: Option<&JournalError>) {
        let text = error.map(ToString::to_string);
        self.shared.error.send_if_modified(|shown| {
            if *shown == text {
                return false;
            }
            match &text {
                Some(what) => {
                    tracing::error!(what, "cannot write the journal; commands are suspended meanwhile");
                }
                None => tracing::info!("the journal is writable again"),
            }
            *shown = text;
            true
        });
    }
}
