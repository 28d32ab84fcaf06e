//! What holds healing back: budgets per drone and swarm, the grace time after a start, and signs
//! that the orchestrator itself is cut off.

use crate::{
    calendar,
    state::{Drone, HealAction, Swarm},
};
use swarm_common::{id::DroneId, state::HealStep, time::TimeMs, wire::concern::ConcernKind};

const HOUR: u64 = 3_600_000;
/// The window of the daily budgets, in milliseconds.
pub(crate) const DAY: u64 = 24 * HOUR;

/// The earliest time at which the budgets allow a step.
pub(super) fn affordable_at(swarm: &Swarm, id: DroneId, step: HealStep) -> TimeMs {
    let policy = &swarm.policy.heal;
    let when = |which: &dyn Fn(&HealAction) -> bool| -> Vec<TimeMs> {
        swarm.acts.iter().filter(|act| which(act)).map(|act| act.at).collect()
    };
    match step {
        HealStep::Probe => TimeMs(0),
        HealStep::Restart | HealStep::Kill => {
            let mild = |act: &HealAction| act.step != HealStep::Reboot;
            let own = when(&|act| mild(act) && act.drone == id);
            free_at(&own, policy.restarts_per_drone, DAY).max(free_at(
                &when(&mild),
                policy.restarts_per_hour,
                HOUR,
            ))
        }
        HealStep::Reboot => {
            let hard = |act: &HealAction| act.step == HealStep::Reboot;
            let own = when(&|act| hard(act) && act.drone == id);
            // One reboot at a time, so that a harmful reboot harms only one machine.
            let others = swarm.drones.values().filter_map(|d| d.healing.under_way);
            let others = others.filter(|other| other.step == HealStep::Reboot).map(|other| other.since);
            let alone = others.map(|since| since + policy.reboot_ms).max().unwrap_or_default();
            free_at(&own, policy.reboots_per_drone, DAY)
                .max(free_at(&when(&hard), policy.reboots_per_day, DAY))
                .max(alone)
        }
    }
}

/// The earliest time at which one more event fits into `limit` per `window_ms`.
fn free_at(times: &[TimeMs], limit: u32, window_ms: u64) -> TimeMs {
    let in_the_way = times.len().checked_sub(limit as usize).and_then(|n| times.get(n));
    in_the_way.map_or(TimeMs(0), |&at| at + window_ms)
}

/// Why healing rests for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rest {
    /// The orchestrator has just started, and drones have this much more time to report, in milliseconds.
    Started { ms: u64 },
    /// The swarm is paused.
    Paused,
    /// The orchestrator appears to be cut off.
    CutOff(ConcernKind),
}

/// Why healing rests for now. `None` if it does not.
#[must_use]
pub fn rests(swarm: &Swarm, now: TimeMs) -> Option<Rest> {
    let grace = swarm.grace_until();
    if now < grace {
        return Some(Rest::Started { ms: grace.since(now) });
    }
    match calendar::pause(swarm, now) {
        Some(_) => Some(Rest::Paused),
        None => cut_off(swarm).map(Rest::CutOff),
    }
}

/// The concern that the orchestrator appears to be cut off rather than the drones, since more than half of
/// them went silent together. `None` if it does not appear so.
#[must_use]
pub fn cut_off(swarm: &Swarm) -> Option<ConcernKind> {
    let together = vanished_together(swarm)?;
    let counted = swarm.drones.values().filter(|d| is_counted(d)).count();
    let silent = together.iter().map(|drone| drone.name.clone()).collect();
    Some(ConcernKind::DronesCutOff { silent, of: counted as u64 })
}

/// The drones that went silent together, if they are more than half of those present.
fn vanished_together(swarm: &Swarm) -> Option<Vec<&Drone>> {
    let counted = swarm.drones.values().filter(|d| is_counted(d)).count();
    let mut silent: Vec<(TimeMs, &Drone)> = swarm
        .drones
        .values()
        .filter(|d| is_silent(d))
        .filter_map(|d| Some((d.healing.silent_since?, d)))
        .collect();
    silent.sort_by_key(|(since, _)| *since);
    let group = |&(first, _): &(TimeMs, &Drone)| {
        let near = silent
            .iter()
            .filter(|(since, _)| *since >= first && since.since(first) <= swarm.policy.heal.together_ms);
        near.map(|(_, drone)| *drone).collect::<Vec<&Drone>>()
    };
    let largest = silent.iter().map(group).max_by_key(Vec::len)?;
    (largest.len() > 1 && 2 * largest.len() > counted).then_some(largest)
}

/// Whether a drone is silent, and neither shut down on purpose nor given up.
pub(super) fn is_silent(drone: &Drone) -> bool {
    drone.offline.is_some() && is_counted(drone)
}

fn is_counted(drone: &Drone) -> bool {
    drone.approved && drone.lost.is_none() && !drone.signed_off()
}
