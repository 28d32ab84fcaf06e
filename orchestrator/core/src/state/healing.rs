//! What healing has done to a drone's machine.

use crate::reason::{self, Reason};
use serde::{Deserialize, Serialize};
use swarm_common::{
    id::DroneId,
    state::{HealOutcome, HealStep},
    time::TimeMs,
};

/// The state of healing for one drone.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct HealingState {
    /// Whether an admin protects the machine from reboots.
    pub protected: bool,
    /// Since when the drone has been silent. `None` if it is not.
    pub silent_since: Option<TimeMs>,
    /// Since when the drone has been heard again, if steps were taken before.
    pub heard_since: Option<TimeMs>,
    /// Steps taken, oldest first.
    pub tried: Vec<HealAttempt>,
    pub under_way: Option<HealInProgress>,
    /// Whether an admin was asked to confirm a reboot.
    pub asked: bool,
    /// Whether an admin confirmed the reboot.
    pub confirmed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealAttempt {
    pub step: HealStep,
    pub at: TimeMs,
    pub outcome: HealOutcome,
    /// What was observed.
    #[serde(with = "reason::optional")]
    pub detail: Option<Reason>,
}

impl HealAttempt {
    /// Whether the step reached the machine.
    pub(crate) fn has_reached(&self) -> bool {
        !self.outcome.is_absent() && !self.outcome.is_hands_off()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealInProgress {
    pub step: HealStep,
    pub since: TimeMs,
}

/// A step taken on a machine, as counted by the budgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealAction {
    pub at: TimeMs,
    pub drone: DroneId,
    pub step: HealStep,
}

impl HealingState {
    pub(crate) fn fell_silent(&mut self, at: TimeMs) {
        (self.silent_since, self.heard_since) = (Some(at), None);
    }

    /// Records that the drone was heard again. The steps taken are kept until the drone has been well for a
    /// while, so that a drone that comes and goes reaches the later steps instead of starting with the first
    /// each time.
    pub(crate) fn returned(&mut self, at: TimeMs) {
        if let Some(HealInProgress { step, .. }) = self.under_way.take() {
            self.tried.push(HealAttempt {
                step,
                at,
                outcome: HealOutcome::Done,
                detail: Some(Reason::ReportedAgain),
            });
        }
        let done_to_it = |t: &HealAttempt| t.step != HealStep::Probe && t.has_reached();
        self.tried.retain(done_to_it);
        (self.silent_since, self.asked, self.confirmed) = (None, false, false);
        self.heard_since = (!self.tried.is_empty()).then_some(at);
    }

    /// Starts again with the first step, as an admin asked.
    pub(crate) fn reset(&mut self) {
        self.tried.clear();
        (self.asked, self.confirmed, self.heard_since) = (false, false, None);
    }

    #[must_use]
    pub fn last(&self) -> Option<&HealAttempt> {
        self.tried.last()
    }

    /// How often a step reached the machine.
    #[must_use]
    pub fn count(&self, step: HealStep) -> usize {
        self.tried.iter().filter(|t| t.step == step && t.has_reached()).count()
    }
}
