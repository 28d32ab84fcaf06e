//! Describes healing: what was done about a silent drone, and what comes next and when.

use crate::{
    explain,
    heal::{self, Next, Obstacle, Rest},
    state::{Drone, Swarm},
    text::{self, span},
};
use swarm_common::{id::DroneId, state::HealStep, time::TimeMs, wire::concern::Action};

/// What healing does next for a drone, in one line. `None` if there is nothing to heal.
#[must_use]
pub fn healing(swarm: &Swarm, now: TimeMs, id: DroneId, drone: &Drone) -> Option<String> {
    let policy = &swarm.policy.heal;
    Some(match heal::next(swarm, now, id, drone) {
        Next::Nothing => return None,
        Next::Cannot(obstacle) => {
            let why = match obstacle {
                Obstacle::NoReach => {
                    format!("automatic healing needs `[healing.drone.{}]` in the configuration", drone.name)
                }
                Obstacle::NoMachineId => {
                    "healing cannot identify its machine: it had no /etc/machine-id when it enrolled".into()
                }
            };
            format!("it reconnects automatically once its machine and `swarm-drone` run; {why}")
        }
        Next::Rests(rest) => {
            let why = match rest {
                Rest::Started { ms } => {
                    let seconds = ms.div_ceil(1000);
                    format!("the orchestrator has just started; drones have {seconds} s more to report")
                }
                Rest::Paused => explain::paused(swarm, now).unwrap_or_default(),
                Rest::CutOff(concern) => text::concern::what(&concern),
            };
            format!("healing is suspended: {why}")
        }
        Next::InProgress(step) => format!("{}, since {}", verb(step.step), span(now.since(step.since))),
        Next::Take(HealStep::Restart, at) => {
            let nth = drone.healing.count(HealStep::Restart) + 1;
            format!("{} ({nth} of {})", soon(HealStep::Restart, now, at), policy.restarts)
        }
        Next::Take(step, at) => soon(step, now, at),
        Next::Asks(_) => {
            let confirm = Action::ConfirmReboot { drone: drone.name.clone() }.command();
            format!("its machine needs a reboot: confirm with `{confirm}`")
        }
        Next::GivesUp(at, why) => format!("healing gives up {}: {}", when(now, at), text::reason(&why)),
    })
}

fn verb(step: HealStep) -> &'static str {
    match step {
        HealStep::Probe => "healing probes its machine",
        HealStep::Restart => "healing restarts its service",
        HealStep::Kill => "healing kills its service and starts it",
        HealStep::Reboot => "healing reboots its machine",
    }
}

fn soon(step: HealStep, now: TimeMs, at: TimeMs) -> String {
    format!("{} {}", verb(step), when(now, at))
}

fn when(now: TimeMs, at: TimeMs) -> String {
    if at <= now { "now".into() } else { format!("in {}", span(at.since(now))) }
}
