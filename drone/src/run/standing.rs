//! How the drone stands with its orchestrator: told once when that changes.
//!
//! | answer | what it is | what the drone does |
//! |---|---|---|
//! | none, or one that no orchestrator gives (a proxy's) | passing | goes on building, asks again |
//! | unknown credential | passing: an orchestrator without its disk, or restored, knows nobody | the same |
//! | another refusal | that request's | says so |
//! | the drone was removed, or is on another machine | final | ends with 77 |

use super::{Loop, RunError};
use crate::agent::Input;
use swarm_common::{client::ClientError, state::DroneState};

impl Loop {
    /// Says once what the orchestrator makes of this drone, and what to do about it.
    pub(super) fn note_state(&mut self, input: &Input) {
        let Input::HeartbeatAnswered(reply) = input else { return };
        let facts = self.facts_on_their_way.take();
        let Some(reply) = reply else { return };
        self.facts_told = facts.or(self.facts_told.take());
        if let Some(enrolled) = &reply.name
            && let Some(wanted) = self.name.take()
            && *enrolled != wanted
        {
            tracing::warn!(
                %enrolled, %wanted,
                "this drone keeps the name that it enrolled with: to rename it, `swarmctl drone remove` it, remove its \
                 credential and enrol it again"
            );
        }
        if self.state.replace(reply.state) == Some(reply.state) {
            return;
        }
        match reply.state {
            DroneState::Pending => tracing::warn!(
                "waiting for an admin's approval: `swarmctl drone list` shows this drone, `swarmctl drone approve` lets it work"
            ),
            DroneState::Grounded => {
                tracing::warn!("grounded after several failures; it gets work again after a while");
            }
            state => tracing::info!(%state, "on duty"),
        }
    }

    /// Says once when the orchestrator goes and once when it is back.
    pub(super) fn note_contact(&mut self, error: Option<ClientError>) -> Result<(), RunError> {
        match error {
            Some(ClientError::Problem(problem)) if problem.ends_a_drone() => {
                return Err(RunError::Refused(problem.detail, self.credential_file.clone()));
            }
            // An orchestrator without its disk, or with a restored journal, knows nobody.
            Some(error) if error.status() == Some(401) && std::mem::take(&mut self.is_known) => {
                tracing::warn!(
                    %error,
                    credential = self.credential_file,
                    "the orchestrator does not know this drone: asked again until it does; if it never will, \
                     remove the credential and enrol again with a new token"
                );
            }
            Some(error) if error.status() == Some(401) => {}
            // It answered: what it does not like is told, and changes nothing else.
            Some(error) if error.status().is_some_and(|status| status < 500) => {
                tracing::warn!(%error, "the orchestrator refuses a request");
            }
            Some(error) if self.was_reachable => {
                tracing::warn!(%error, "the orchestrator is away; builds go on and results are kept");
                self.was_reachable = false;
            }
            None if !self.is_known => {
                tracing::info!("the orchestrator knows this drone again");
                self.is_known = true;
            }
            None if !self.was_reachable => {
                tracing::info!("the orchestrator is back");
                self.was_reachable = true;
            }
            _ => {}
        }
        Ok(())
    }
}
