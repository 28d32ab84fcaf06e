//! Applies steps of healing. [`crate::heal`] decides whether they are allowed.

use crate::{
    event::Event,
    heal::DAY,
    state::{Act, Swarm, Tried, UnderWay},
};
use swarm_common::{state::HealStep, time::TimeMs};

impl Swarm {
    pub(super) fn heal(&mut self, at: TimeMs, event: &Event) {
        match event {
            Event::DroneLost { drone, reason } => self.drone(*drone, |d| d.lost = Some(reason.clone())),
            Event::DroneHealed { drone } => self.drone(*drone, |d| d.healing.start_anew()),
            Event::DroneProtected { drone, protected } => {
                self.drone(*drone, |d| d.healing.protected = *protected);
            }
            Event::HealStepBegan { drone, step } => {
                if *step != HealStep::Probe {
                    self.acts.retain(|act| at.since(act.at) < DAY);
                    self.acts.push(Act { at, drone: *drone, step: *step });
                }
                self.drone(*drone, |d| d.healing.under_way = Some(UnderWay { step: *step, since: at }));
            }
            Event::HealStepEnded { drone, step, outcome, detail } => self.drone(*drone, |d| {
                d.healing.under_way = None;
                d.healing.tried.push(Tried { step: *step, at, outcome: *outcome, detail: detail.clone() });
            }),
            Event::RebootWanted { drone, .. } => self.drone(*drone, |d| d.healing.asked = true),
            Event::RebootConfirmed { drone } => self.drone(*drone, |d| d.healing.confirmed = true),
            _ => {}
        }
    }
}
