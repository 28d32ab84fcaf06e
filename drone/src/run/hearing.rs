//! What the orchestrator makes of this drone, said to whoever reads its log.

use super::Loop;
use crate::agent::Input;
use swarm_common::state::DroneState;

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
}
