//! Waits for an orchestrator that went away while it is being watched. Temporary failures, including errors
//! from a proxy in front of the orchestrator, are reported and retried with increasing delays. Permanent
//! failures are returned.

use crate::output::text::clean;
use std::time::{Duration, Instant};
use swarm_client::ClientError;

/// The maximum time that an orchestrator may be away.
const LONGEST: Duration = Duration::from_secs(300);
/// The delay before the first retry. It doubles with each further one.
const PAUSE: Duration = Duration::from_millis(500);
/// The maximum delay between retries.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// How long the orchestrator has been away, and what was reported about it.
#[derive(Debug, Default)]
pub struct Patience {
    away: Option<Instant>,
    tries: u32,
    last_message: String,
}

impl Patience {
    /// Waits before the next retry. The first retry is silent: a proxy may have closed an idle connection,
    /// and a new request then succeeds.
    ///
    /// # Errors
    /// `error`, if it was sent by the orchestrator itself or has lasted for too long.
    pub async fn wait(&mut self, error: ClientError, say: impl FnOnce(&str)) -> Result<(), ClientError> {
        let away = *self.away.get_or_insert_with(Instant::now);
        if !error.is_passing() || away.elapsed() >= LONGEST {
            return Err(error);
        }
        if self.tries > 0 {
            let text = clean(&error.to_string());
            if text != self.last_message {
                say(&format!("waiting for the orchestrator: {text}"));
                self.last_message = text;
            }
        }
        tokio::time::sleep(self.pause()).await;
        self.tries = self.tries.saturating_add(1);
        Ok(())
    }

    /// Records that the orchestrator has answered.
    pub fn answered(&mut self, say: impl FnOnce(&str)) {
        if !std::mem::take(self).last_message.is_empty() {
            say("reconnected to the orchestrator");
        }
    }

    fn pause(&self) -> Duration {
        PAUSE.saturating_mul(1 << self.tries.min(8)).min(LONGEST_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_common::wire::problem::Problem;

    fn proxys(status: u16) -> ClientError {
        ClientError::Protocol { url: "http://nas".into(), status: Some(status), what: "\x1b[2J".into() }
    }

    #[tokio::test]
    async fn what_passes_is_said_once_and_that_it_is_over_too() {
        let mut patience = Patience::default();
        let mut messages = Vec::new();
        for status in [502, 502, 504] {
            patience.wait(proxys(status), |text| messages.push(text.to_owned())).await.unwrap();
        }
        patience.answered(|text| messages.push(text.to_owned()));
        patience.wait(proxys(404), |text| messages.push(text.to_owned())).await.unwrap();
        patience.answered(|text| messages.push(text.to_owned()));
        assert_eq!(messages.len(), 3, "{messages:?}");
        assert!(messages[0].contains("HTTP 502") && messages[1].contains("HTTP 504"), "{messages:?}");
        assert!(
            messages[2] == "reconnected to the orchestrator" && !messages.concat().contains('\x1b'),
            "{messages:?}"
        );
    }

    #[tokio::test]
    async fn the_orchestrators_own_word_and_what_lasts_end_it() {
        let gone = ClientError::Problem(Box::new(Problem {
            kind: "/problems/unknown-run".into(),
            title: String::new(),
            status: 404,
            detail: String::new(),
            request_id: None,
            retry_after_s: None,
        }));
        assert!(Patience::default().wait(gone, |_| {}).await.is_err());
        let mut patience = Patience { away: Instant::now().checked_sub(LONGEST), ..Patience::default() };
        assert!(patience.wait(proxys(502), |_| {}).await.is_err());
    }
}
