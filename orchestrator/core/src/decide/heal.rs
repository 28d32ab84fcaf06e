//! Decides the commands of healing: the shell begins and reports a step; an admin protects a
//! machine or confirms its reboot. [`crate::heal`] determines which step is due.

use super::{Decision, already, known};
use crate::{
    event::Event,
    heal::{self, Next},
    policy::RebootRule,
    reason::Reason,
    refusal::Refusal,
    reply::Reply,
    state::{Drone, HealInProgress, Swarm},
};
use swarm_common::{
    id::DroneId,
    state::{HealOutcome, HealStep},
    time::TimeMs,
    wire::concern::Action,
};

/// The maximum length of the detail kept of a step's outcome, in characters.
const LONGEST_DETAIL: usize = 300;

/// Begins a step. Only the step that is due may begin, so two concurrent requests start one step.
pub(super) fn begin(swarm: &Swarm, now: TimeMs, drone: DroneId, step: HealStep) -> Decision {
    match heal::next(swarm, now, drone, known(swarm, drone)?) {
        Next::Take(due, at) if due == step && at <= now => {
            Ok((vec![Event::HealStepBegan { drone, step }], Reply::Done))
        }
        _ => Err(wrong(known(swarm, drone)?, format!("a {step} is not due now"))),
    }
}

/// Records the outcome of a step. If the step is already over (it timed out, or the drone was
/// heard), the report can at most reveal a reboot.
pub(super) fn report(
    swarm: &Swarm,
    drone: DroneId,
    step: HealStep,
    outcome: HealOutcome,
    detail: &str,
    boot_id: Option<&str>,
) -> Decision {
    let record = known(swarm, drone)?;
    let mut events = Vec::new();
    if let Some(boot_id) = boot_id.filter(|id| !id.is_empty() && *id != record.facts.boot_id) {
        events.push(Event::DroneRebooted { drone, boot_id: boot_id.to_owned() });
    }
    if record.healing.under_way.is_some_and(|u| u.step == step) {
        let text: String = detail.chars().filter(|c| !c.is_control()).take(LONGEST_DETAIL).collect();
        let detail = (!text.is_empty()).then(|| Reason::Observed { text: text.into() });
        events.push(Event::HealStepEnded { drone, step, outcome, detail });
    }
    Ok((events, Reply::Done))
}

pub(super) fn protect(swarm: &Swarm, drone: DroneId, protected: bool) -> Decision {
    let record = known(swarm, drone)?;
    let by_configuration = swarm.policy.heal.reach.get(&record.name).is_some_and(|r| r.protected);
    if !protected && by_configuration {
        return Err(wrong(
            record,
            format!("`[healing.drone.{}]` protects it: change the configuration", record.name),
        ));
    }
    if record.healing.protected == protected {
        return already();
    }
    Ok((vec![Event::DroneProtected { drone, protected }], Reply::Done))
}

pub(super) fn confirm(swarm: &Swarm, drone: DroneId) -> Decision {
    let record = known(swarm, drone)?;
    let name = &record.name;
    let reach = swarm.policy.heal.reach.get(name).copied();
    let refuse = |hint: String| Err(wrong(record, hint));
    if record.lost.is_some() {
        let resume = Action::ResumeDrone { drone: name.clone() }.command();
        return refuse(format!("healing gave up on it; start over with `{resume}`"));
    }
    if record.offline.is_none() || record.signed_off() {
        return refuse("healing has nothing to do for it, so no reboot is pending".into());
    }
    match reach {
        None => {
            refuse(format!("healing has no way to reach its machine: configure `[healing.drone.{name}]`"))
        }
        Some(reach) if reach.protected => refuse(format!("`[healing.drone.{name}]` protects it")),
        Some(_) if record.healing.protected => {
            let unprotect = Action::UnprotectDrone { drone: name.clone() }.command();
            refuse(format!("it is protected; `{unprotect}` first"))
        }
        Some(reach) if reach.reboot == RebootRule::Never => {
            refuse(format!("`[healing.drone.{name}]` has `reboot = \"never\"`; set it to \"ask\""))
        }
        Some(_) if record.healing.confirmed => already(),
        Some(_) => Ok((vec![Event::RebootConfirmed { drone }], Reply::Done)),
    }
}

fn wrong(drone: &Drone, hint: String) -> Refusal {
    Refusal::WrongState { what: format!("drone {}", drone.name), state: drone.state().word().into(), hint }
}

/// The effects of time on healing: steps that were never reported time out, drones are given up or count as
/// healed, and admins are asked to confirm reboots.
pub(super) fn overdue(swarm: &Swarm, now: TimeMs) -> Vec<Event> {
    swarm.drones.iter().filter_map(|(&id, drone)| of_drone(swarm, now, id, drone)).collect()
}

fn of_drone(swarm: &Swarm, now: TimeMs, id: DroneId, drone: &Drone) -> Option<Event> {
    let (policy, healing) = (&swarm.policy.heal, &drone.healing);
    if let Some(HealInProgress { step, since }) = healing.under_way {
        let time = if step == HealStep::Reboot { policy.reboot_ms + policy.step_ms } else { policy.step_ms };
        let (outcome, detail) = (HealOutcome::Unseen, Some(Reason::NotReported { step }));
        return (now.since(since) >= time).then_some(Event::HealStepEnded {
            drone: id,
            step,
            outcome,
            detail,
        });
    }
    if healing.heard_since.is_some_and(|since| now.since(since) >= policy.calm_ms) {
        return Some(Event::DroneHealed { drone: id });
    }
    match heal::next(swarm, now, id, drone) {
        Next::GivesUp(at, reason) if at <= now => Some(Event::DroneLost { drone: id, reason }),
        Next::Asks(reason) if !healing.asked => Some(Event::RebootWanted { drone: id, reason }),
        _ => None,
    }
}
