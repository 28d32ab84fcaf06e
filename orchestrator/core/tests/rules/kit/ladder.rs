//! The shell's part of healing, played by the test.

use super::{Kit, name};
use swarm_common::{id::*, state::*, wire::concern::Concern};
use swarm_core::{
    Command, Refusal, Swarm, heal,
    policy::{Reach, RebootRule},
    view,
};

pub const D1: DroneId = DroneId(1);

/// Drones on reachable machines, after the grace time of the start.
pub fn reachable(drones: &[&str], reboot: RebootRule) -> Kit {
    let mut kit = Kit::new(drones);
    for drone in drones {
        kit.swarm.policy.heal.reach.insert(name(drone), Reach { reboot, protected: false });
    }
    let all: Vec<DroneId> = kit.swarm.drones.keys().copied().collect();
    kit.pass(100_000, &all);
    kit
}

/// One of three drones has been silent for long enough to be healed.
pub fn one_silent(reboot: RebootRule) -> Kit {
    let mut kit = reachable(&["oak", "elm", "ash"], reboot);
    silent(&mut kit, 130_000);
    kit
}

/// `oak` is silent for a while; the other drones send heartbeats.
pub fn silent(kit: &mut Kit, ms: u64) {
    let others: Vec<DroneId> = kit.swarm.drones.keys().copied().filter(|d| *d != D1).collect();
    kit.pass(ms, &others);
}

pub fn due(kit: &Kit) -> Vec<(DroneId, HealStep)> {
    heal::due(&kit.swarm, kit.now)
}

pub fn report(kit: &mut Kit, step: HealStep, outcome: HealOutcome, detail: &str, boot_id: &str) {
    kit.must(Command::ReportHealing {
        drone: D1,
        step,
        outcome,
        detail: detail.into(),
        boot_id: (!boot_id.is_empty()).then(|| boot_id.into()),
    });
}

/// Waits until a step is due, and takes it with this outcome.
pub fn take(kit: &mut Kit, step: HealStep, outcome: HealOutcome) {
    for _ in 0..360 {
        if let [(_, next)] = due(kit)[..] {
            assert_eq!(next, step, "{:?}", kit.swarm.drones[&D1].healing);
            kit.must(Command::BeginHealing { drone: D1, step });
            report(kit, step, outcome, "what was seen", if outcome == HealOutcome::Done { "1" } else { "" });
            return;
        }
        silent(kit, 10_000);
    }
    panic!("no {step} within an hour: {:?}", kit.swarm.drones[&D1].healing);
}

pub fn concerns(swarm: &Swarm, kit: &Kit) -> Vec<Concern> {
    view::status(swarm, kit.now, kit.now, "0", &[]).concerns
}

pub fn concern_lines(kit: &Kit) -> String {
    let lines = concerns(&kit.swarm, kit).into_iter().map(|c| format!("{} -> {}", c.what, c.next));
    lines.collect::<Vec<_>>().join("\n")
}

pub fn refusal(kit: &mut Kit, command: Command) -> String {
    match kit.send(command) {
        Err(refusal @ Refusal::WrongState { .. }) => refusal.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Takes all steps before the reboot.
pub fn up_to_the_reboot(kit: &mut Kit) {
    take(kit, HealStep::Probe, HealOutcome::Done);
    take(kit, HealStep::Restart, HealOutcome::Done);
    take(kit, HealStep::Restart, HealOutcome::Done);
    take(kit, HealStep::Kill, HealOutcome::Done);
    silent(kit, 200_000);
}
