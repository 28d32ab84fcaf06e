//! The drone's view of its relation to the orchestrator; each change is logged once.
//!
//! | answer | meaning | reaction |
//! |---|---|---|
//! | none, or not an orchestrator's (a proxy's) | temporary | keeps building, retries |
//! | unknown credential | temporary: the orchestrator may have lost or restored its journal | same, and asks to be taken back |
//! | another rejection | concerns only that request | log it |
//! | the drone was removed, or its credential belongs to another machine | final | exit with 77 |

use super::{Loop, RunError};
use crate::{agent::Input, machine};
use std::time::{Duration, Instant};
use swarm_client::{ClientError, Fate, Stage};
use swarm_common::{
    state::DroneState,
    wire::drone::{Cancellation, EnrolRequest},
};

/// How often a drone asks to return to an orchestrator that does not know it.
const RETURN_EVERY: Duration = Duration::from_secs(60);

impl Loop {
    /// Logs changes of the drone's state once, with advice.
    pub(super) fn note_state(&mut self, input: &Input) {
        let Input::HeartbeatAnswered(reply) = input else { return };
        let facts = self.facts_on_their_way.take();
        let Some(reply) = reply else { return };
        // Attempts acknowledged while this heartbeat was in flight are already forgotten. Of those that are being
        // reported, the answer to the report says what becomes of them.
        let is_news = |c: &&Cancellation| self.agent.holds(c.attempt) && !self.agent.is_reporting(c.attempt);
        for Cancellation { attempt, reason } in reply.cancel.iter().filter(is_news) {
            tracing::warn!(%attempt, reason, "the orchestrator does not want this work; it is discarded");
        }
        for attempt in reply.kept.iter().filter(|attempt| !self.kept.contains(attempt)) {
            tracing::info!(%attempt, "the orchestrator's journal was restored and does not know this attempt; its \
                result is kept until a run needs it");
        }
        self.kept.clone_from(&reply.kept);
        if !reply.facts_deferred {
            self.facts_told = facts.or(self.facts_told.take());
        }
        if let Some(enrolled) = &reply.name
            && let Some(wanted) = self.name.replace(enrolled.clone())
            && *enrolled != wanted
        {
            tracing::warn!(
                %enrolled, %wanted,
                "this drone keeps the name it enrolled with; to rename it, run `swarmctl drone remove`, \
                 remove its credential and enrol it again"
            );
        }
        if self.state.replace(reply.state) == Some(reply.state) {
            return;
        }
        match reply.state {
            DroneState::Pending => tracing::warn!("waiting for approval: run `swarmctl drone approve`"),
            DroneState::Grounded => {
                tracing::warn!("grounded after several failures; it gets work again automatically");
            }
            state => tracing::info!(%state, "online, ready for work"),
        }
    }

    /// Asks an orchestrator that does not know this drone to take it back. If its journal was restored to a
    /// time before the drone enrolled, it does so once an admin approves.
    fn ask_to_return(&mut self) {
        let wait = self.asked_back.is_some_and(|at| at.elapsed() < RETURN_EVERY);
        let (Some(name), Some(credential_hash), false) =
            (self.name.clone(), self.client.credential_hash(), wait)
        else {
            return;
        };
        self.asked_back = Some(Instant::now());
        let facts = machine::facts(
            &self.profiles,
            &self.resources.builder,
            self.probe.toolchain(),
            self.fitness.found(),
        );
        let (token, credential_hash) = (String::new(), Some(credential_hash));
        let request = EnrolRequest { token, name: name.clone(), facts, credential_hash };
        let client = self.client.clone();
        self.tasks.spawn(async move {
            match client.enrol(&request).await {
                Ok(_) => {
                    tracing::warn!(%name, "the orchestrator takes this drone back; waiting for approval")
                }
                // Only an orchestrator with a restored journal takes drones back.
                Err(error) => tracing::debug!(%error, "the orchestrator does not take this drone back"),
            }
        });
    }

    /// Logs once when the orchestrator becomes unreachable and once when it is back.
    pub(super) fn note_contact(&mut self, error: Option<ClientError>) -> Result<(), RunError> {
        match error {
            Some(error) if error.fate(Stage::Working) == Fate::Refused => {
                return Err(RunError::Refused(error.to_string(), self.credential_file.clone()));
            }
            // An orchestrator without its disk, or with a restored journal, does not know the credential.
            Some(error) if error.status() == Some(401) => {
                if std::mem::take(&mut self.is_known) {
                    tracing::warn!(
                        %error,
                        credential = self.credential_file,
                        "the orchestrator does not know this drone, will retry; if this persists, remove the \
                         credential and enrol again with a new token"
                    );
                }
                self.ask_to_return();
            }
            // The orchestrator answered, so it is reachable. The error concerns only this request.
            Some(error) if error.status().is_some_and(|status| status < 500) => {
                tracing::warn!(%error, "the orchestrator rejected a request");
            }
            Some(error) if self.was_reachable => {
                tracing::warn!(%error, "cannot reach the orchestrator, will retry; builds continue and \
                    results are kept");
                self.was_reachable = false;
            }
            None if !self.is_known => {
                tracing::info!("the orchestrator recognises this drone again");
                self.is_known = true;
            }
            None if !self.was_reachable => {
                tracing::info!("reconnected to the orchestrator");
                self.was_reachable = true;
            }
            _ => {}
        }
        Ok(())
    }
}
