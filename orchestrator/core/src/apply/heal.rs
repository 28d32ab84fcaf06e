//! Applies steps of healing. [`crate::heal`] decides whether they are allowed.

use crate::{
    event::Event,
    heal::DAY,
    state::{HealAction, HealAttempt, HealInProgress, Swarm},
};
use swarm_common::{state::HealStep, time::TimeMs};

impl Swarm {
    pub(super) fn heal(&mut self, at: TimeMs, event: &Event) {
        match event {
            Event::DroneLost { drone, reason } => self.drone(*drone, |d| d.lost = Some(reason.clone())),
            Event::DroneHealed { drone } => self.drone(*drone, |d| d.healing.reset()),
            Event::DroneProtected { drone, protected } => {
                self.drone(*drone, |d| d.healing.protected = *protected);
            }
            Event::HealStepBegan { drone, step } => {
                if *step != HealStep::Probe {
                    self.acts.retain(|act| at.since(act.at) < DAY);
                    self.acts.push(HealAction { at, drone: *drone, step: *step });
                }
                self.drone(*drone, |d| d.healing.under_way = Some(HealInProgress { step: *step, since: at }));
            }
            Event::HealStepEnded { drone, step, outcome, detail } => self.drone(*drone, |d| {
                d.healing.under_way = None;
                d.healing.tried.push(HealAttempt {
                    step: *step,
                    at,
                    outcome: *outcome,
                    detail: detail.clone(),
                });
            }),
            Event::RebootWanted { drone, .. } => self.drone(*drone, |d| d.healing.asked = true),
            Event::RebootConfirmed { drone } => self.drone(*drone, |d| d.healing.confirmed = true),
            _ => {}
        }
    }
}
