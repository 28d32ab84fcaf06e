//! The steps that bring back a drone that went silent: probe, restart its service, kill and start it, reboot
//! its machine, and finally ask an admin.
//!
//! Level-triggered: [`next`] decides from the state alone which step is due and when. The shell
//! asks, announces the step (so that it is in the journal before anything is done), takes it and
//! reports the outcome. A step that was announced but not reported within its time is judged again.
//! Healing is slow on purpose: most silent drones come back by themselves, and a needless reboot
//! costs more than a missing drone.

mod restraint;

pub(crate) use restraint::DAY;
pub use restraint::{Rest, cut_off, rests};

use crate::{
    policy::{HealPolicy, Reach, RebootRule},
    reason::{Exhausted, LastStep, Reason, StillSilent, Unreachable},
    state::{Drone, HealAttempt, HealInProgress, HealingState, Swarm},
};
use restraint::{affordable_at, is_silent};
use swarm_common::{id::DroneId, state::*, time::TimeMs};

/// The maximum number of steps before a drone is given up, whatever their outcomes.
const LONGEST_CLIMB: usize = 32;

/// What healing does next for a drone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing to do: the drone is heard, or it is away on purpose.
    Nothing,
    /// Healing is not possible.
    Cannot(Obstacle),
    /// Healing rests for now.
    Rests(Rest),
    InProgress(HealInProgress),
    /// The step to take, and the earliest time for it.
    Take(HealStep, TimeMs),
    /// An admin has to confirm a reboot, for this reason.
    Asks(Reason),
    /// At this time the drone is given up and left to an admin, for this reason.
    GivesUp(TimeMs, Reason),
}

/// Why healing a drone is not possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// The configuration has no way to reach the machine.
    NoReach,
    /// The machine cannot be identified, since the drone reported no machine id.
    NoMachineId,
}

/// The steps that are due, at most one per drone.
#[must_use]
pub fn due(swarm: &Swarm, now: TimeMs) -> Vec<(DroneId, HealStep)> {
    let step = |(&id, drone): (&DroneId, &Drone)| match next(swarm, now, id, drone) {
        Next::Take(step, at) if at <= now => Some((id, step)),
        _ => None,
    };
    swarm.drones.iter().filter_map(step).collect()
}

#[must_use]
pub fn next(swarm: &Swarm, now: TimeMs, id: DroneId, drone: &Drone) -> Next {
    let (policy, healing) = (&swarm.policy.heal, &drone.healing);
    if !is_silent(drone) || drone.draining.is_some() {
        return Next::Nothing;
    }
    if let Some(under_way) = healing.under_way {
        return Next::InProgress(under_way);
    }
    let Some(&reach) = policy.reach.get(&drone.name) else {
        return Next::Cannot(Obstacle::NoReach);
    };
    if drone.facts.machine_id.is_empty() {
        return Next::Cannot(Obstacle::NoMachineId);
    }
    if let Some(why) = rests(swarm, now) {
        return Next::Rests(why);
    }
    let silent_since = healing.silent_since.unwrap_or(swarm.live.started_at);
    match climb(policy, healing, reach) {
        Next::Take(step, at) => {
            let at = at.max(silent_since + policy.patience_ms).max(affordable_at(swarm, id, step));
            Next::Take(step, at)
        }
        Next::GivesUp(at, why) => Next::GivesUp(at.max(silent_since + policy.patience_ms), why),
        other => other,
    }
}

/// The step that follows those tried, ignoring budgets.
fn climb(policy: &HealPolicy, healing: &HealingState, reach: Reach) -> Next {
    let Some(last) = healing.last() else { return Next::Take(HealStep::Probe, TimeMs(0)) };
    if last.outcome.is_hands_off() {
        return Next::GivesUp(last.at, Reason::HandsOff(Box::new(step(last))));
    }
    if last.outcome.is_absent() {
        let vain = healing.tried.iter().rev().take_while(|t| t.outcome.is_absent()).count();
        if vain >= policy.probes as usize {
            let unreachable = Unreachable { times: vain as u64, last: step(last) };
            return Next::GivesUp(last.at, Reason::Unreachable(Box::new(unreachable)));
        }
        let wait = policy.probe_every_ms.saturating_mul(1 << (vain - 1).min(16)).min(policy.probe_max_ms);
        return Next::Take(HealStep::Probe, last.at + wait);
    }
    let act = healing.tried.iter().rev().find(|t| t.step != HealStep::Probe && t.has_reached());
    let heard_by = act.map_or(last.at, |t| last.at.max(t.at + policy.recover_ms));
    // The reboot was not observed; a probe compares the boot id.
    if (last.step, last.outcome) == (HealStep::Reboot, HealOutcome::Unseen) {
        return Next::Take(HealStep::Probe, last.at);
    }
    let still_silent =
        |after| Reason::StillSilent(Box::new(StillSilent { after, last: step(act.unwrap_or(last)) }));
    let in_vain = |after| Next::GivesUp(heard_by, still_silent(after));
    if healing.tried.len() >= LONGEST_CLIMB {
        return in_vain(Exhausted::AllSteps);
    }
    let hung = act.is_some_and(|t| t.outcome == HealOutcome::Hung);
    if healing.count(HealStep::Kill) + healing.count(HealStep::Reboot) == 0 {
        let more = healing.count(HealStep::Restart) < policy.restarts as usize && !hung;
        return Next::Take(if more { HealStep::Restart } else { HealStep::Kill }, heard_by);
    }
    if healing.count(HealStep::Reboot) > 0 {
        return in_vain(Exhausted::Reboot);
    }
    match reach.reboot {
        _ if reach.protected || healing.protected => in_vain(Exhausted::Protected),
        RebootRule::Never => in_vain(Exhausted::RebootForbidden),
        RebootRule::Ask if !healing.confirmed => Next::Asks(still_silent(Exhausted::RebootUnconfirmed)),
        RebootRule::Ask | RebootRule::Allow => Next::Take(HealStep::Reboot, heard_by),
    }
}

/// A step as part of a reason.
fn step(tried: &HealAttempt) -> LastStep {
    LastStep { step: tried.step, outcome: tried.outcome, detail: tried.detail.clone() }
}
