//! What holds healing back: budgets for each drone and for the swarm, the time after our own
//! start, and the thought that we are the ones who are cut off.

use super::Act;
use crate::{calendar, drone::Drone, swarm::Swarm};
use swarm_common::{id::DroneId, state::HealStep, time::TimeMs};

const HOUR: u64 = 3_600_000;
/// Budgets count within this time.
pub(crate) const DAY: u64 = 24 * HOUR;

/// From when on the budgets allow a step.
pub(super) fn affordable_at(swarm: &Swarm, id: DroneId, step: HealStep) -> TimeMs {
    let policy = &swarm.policy.heal;
    let when = |which: &dyn Fn(&Act) -> bool| -> Vec<TimeMs> {
        swarm.acts.iter().filter(|act| which(act)).map(|act| act.at).collect()
    };
    match step {
        HealStep::Probe => TimeMs(0),
        HealStep::Restart | HealStep::Kill => {
            let mild = |act: &Act| act.step != HealStep::Reboot;
            let own = when(&|act| mild(act) && act.drone == id);
            free_at(&own, policy.restarts_per_drone, DAY).max(free_at(
                &when(&mild),
                policy.restarts_per_hour,
                HOUR,
            ))
        }
        HealStep::Reboot => {
            let hard = |act: &Act| act.step == HealStep::Reboot;
            let own = when(&|act| hard(act) && act.drone == id);
            // One after the other: should reboots do harm, they do it to one machine.
            let others = swarm.drones.values().filter_map(|d| d.healing.under_way);
            let others = others.filter(|other| other.step == HealStep::Reboot).map(|other| other.since);
            let alone = others.map(|since| since + policy.reboot_ms).max().unwrap_or_default();
            free_at(&own, policy.reboots_per_drone, DAY)
                .max(free_at(&when(&hard), policy.reboots_per_day, DAY))
                .max(alone)
        }
    }
}

/// When one more fits into `limit` within `window_ms`.
fn free_at(times: &[TimeMs], limit: u32, window_ms: u64) -> TimeMs {
    let in_the_way = times.len().checked_sub(limit as usize).and_then(|n| times.get(n));
    in_the_way.map_or(TimeMs(0), |&at| at + window_ms)
}

/// Why nobody is healed at present, if so.
#[must_use]
pub fn rests(swarm: &Swarm, now: TimeMs) -> Option<String> {
    let grace = swarm.grace_until();
    if now < grace {
        let seconds = grace.since(now).div_ceil(1000);
        return Some(format!("the orchestrator has just started; {seconds} s more are theirs to be heard"));
    }
    calendar::paused(swarm, now).or_else(|| cut_off(swarm))
}

/// What speaks for it that we are cut off, not the drones: more than half of them fell silent
/// together.
#[must_use]
pub fn cut_off(swarm: &Swarm) -> Option<String> {
    let together = vanished_together(swarm)?;
    let counted = swarm.drones.values().filter(|d| is_counted(d)).count();
    let (n, names) = (together.len(), names(&together));
    Some(format!("{n} of {counted} drones fell silent together ({names})"))
}

/// The drones that fell silent at once, if they are more than half of those that were there.
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

/// Silent, and neither gone on purpose nor given up.
pub(super) fn is_silent(drone: &Drone) -> bool {
    drone.offline.is_some() && is_counted(drone)
}

fn is_counted(drone: &Drone) -> bool {
    drone.approved && drone.lost.is_none() && !drone.signed_off()
}

fn names(drones: &[&Drone]) -> String {
    let names: Vec<&str> = drones.iter().take(4).map(|d| d.name.as_str()).collect();
    let more = drones.len().saturating_sub(4);
    if more > 0 { format!("{} and {more} more", names.join(", ")) } else { names.join(", ") }
}
