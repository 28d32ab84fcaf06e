//! People who start runs of the further profiles, of any class and while other runs are under way.

use super::{
    size::lab,
    world::{What, World},
};
use swarm_common::state::RunClass;
use swarm_core::Command;

/// Mean time between two tries to start a run of a profile, in milliseconds.
const START_MS: u64 = 150_000;

impl World {
    pub(super) fn next_start(&mut self, n: u32) {
        self.soon(START_MS, What::StartByHand(n));
    }

    /// Starts a run unless the profile has had all of its runs. It is refused while another run of the
    /// profile is active. Goes on for as long as the world, because a restored journal may lack a run.
    pub(super) fn start_by_hand(&mut self, n: u32) -> Result<(), String> {
        let classes = [RunClass::Interactive, RunClass::Security, RunClass::Nightly];
        let (profile, class) = (lab(n), classes[self.rng.below(3) as usize]);
        if let Some(swarm) = &self.orchestrator.swarm {
            let runs = swarm.runs.values().filter(|run| run.profile == profile).count();
            if runs < self.size.runs as usize {
                let key = format!("start {}", self.rng.bits());
                let start = Command::StartRun { profile, class };
                self.orchestrator.admin(self.now, &mut self.rng, start, &key)?;
            }
        }
        self.next_start(n);
        Ok(())
    }
}
