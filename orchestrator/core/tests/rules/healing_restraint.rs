//! What restrains healing: our own start, a whole swarm that is silent, budgets, and admins.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::kit::{ladder::*, name};
use HealOutcome::Done;
use HealStep::{Kill, Probe, Reboot, Restart};
use swarm_common::{id::*, state::*};
use swarm_core::{Command, policy::RebootRule, view};

// fault: 22
#[test]
fn more_than_half_of_the_drones_at_once_is_our_fault_and_nobody_is_healed() {
    let mut kit = reachable(&["oak", "elm", "ash", "fir", "yew"], RebootRule::Allow);
    kit.pass(200_000, &[DroneId(4), DroneId(5)]);
    assert!(due(&kit).is_empty());
    let lines = concern_lines(&kit);
    assert!(lines.contains("3 of 5 drones went silent together (oak, elm, ash) -> probably this"), "{lines}");
    assert!(
        lines.contains("drone oak is offline: silent for 70 s -> healing is suspended: 3 of 5"),
        "{lines}"
    );
    kit.pass(4_000_000, &[DroneId(4), DroneId(5)]);
    assert!(due(&kit).is_empty());
    assert_eq!(kit.drone_state(D1), DroneState::Offline, "nobody is given up meanwhile");
    // One returns. Now two of five are silent, and they are healed.
    kit.pass(10_000, &[DroneId(3), DroneId(4), DroneId(5)]);
    assert_eq!(due(&kit), [(D1, Probe), (DroneId(2), Probe)]);
}

#[test]
fn a_lonely_drone_is_healed_too() {
    let mut kit = reachable(&["oak"], RebootRule::Never);
    silent(&mut kit, 130_000);
    assert_eq!(due(&kit), [(D1, Probe)]);
}

#[test]
fn after_our_own_start_nobody_is_touched() {
    let mut kit = one_silent(RebootRule::Allow);
    assert_eq!(due(&kit), [(D1, Probe)]);
    kit.must(Command::StartOrchestrator);
    assert!(due(&kit).is_empty());
    assert!(
        concern_lines(&kit).contains("healing is suspended: the orchestrator has just started"),
        "{}",
        concern_lines(&kit)
    );
    silent(&mut kit, 90_000);
    assert_eq!(due(&kit), [(D1, Probe)]);
}

#[test]
fn nobody_is_healed_or_given_up_in_a_pause() {
    let mut kit = one_silent(RebootRule::Allow);
    take(&mut kit, Probe, Done);
    kit.must(Command::Pause { for_ms: 7_200_000, reason: "the electrician is here".into() });
    silent(&mut kit, 7_000_000);
    assert!(due(&kit).is_empty());
    assert_eq!(kit.drone_state(D1), DroneState::Offline);
    assert!(
        concern_lines(&kit).contains("healing is suspended: ") && concern_lines(&kit).contains("electrician"),
        "{}",
        concern_lines(&kit)
    );
    silent(&mut kit, 300_000);
    assert_eq!(due(&kit), [(D1, Restart)]);
}

#[test]
fn a_reboot_waits_for_the_admins_word_where_that_is_asked_for() {
    let mut kit = one_silent(RebootRule::Ask);
    up_to_the_reboot(&mut kit);
    silent(&mut kit, 5_000_000);
    assert!(due(&kit).is_empty());
    let status = view::status(&kit.swarm, kit.now, kit.now, "0", &[]);
    assert_eq!(status.next_action.as_deref(), Some("swarmctl drone confirm-reboot oak"));
    assert!(kit.swarm.drones[&D1].healing.asked);
    kit.must(Command::ConfirmReboot(D1));
    take(&mut kit, Reboot, Done);
    kit.pass(10_000, &[D1, DroneId(2), DroneId(3)]);
    assert_eq!(kit.drone_state(D1), DroneState::Online);
    assert!(!kit.swarm.drones[&D1].healing.confirmed, "a word is for one silence only");
}

#[test]
fn a_confirmed_reboot_still_comes_after_the_gentler_steps() {
    let mut kit = one_silent(RebootRule::Ask);
    kit.must(Command::ConfirmReboot(D1));
    assert_eq!(due(&kit), [(D1, Probe)]);
    up_to_the_reboot(&mut kit);
    assert_eq!(due(&kit), [(D1, Reboot)]);
}

#[test]
fn a_protected_machine_is_never_rebooted() {
    for by_configuration in [true, false] {
        let mut kit = one_silent(RebootRule::Allow);
        if by_configuration {
            kit.swarm.policy.heal.reach.get_mut(&name("oak")).unwrap().protected = true;
            let error = refusal(&mut kit, Command::ProtectDrone { drone: D1, protected: false });
            assert!(error.contains("`[healing.drone.oak]` protects it"), "{error}");
        } else {
            kit.must(Command::ProtectDrone { drone: D1, protected: true });
        }
        assert!(refusal(&mut kit, Command::ConfirmReboot(D1)).contains("protect"));
        assert!(view::drone(&kit.swarm, kit.now, D1).unwrap().protected);
        up_to_the_reboot(&mut kit);
        assert!(due(&kit).is_empty());
        assert_eq!(kit.drone_state(D1), DroneState::Lost);
        assert!(concern_lines(&kit).contains("is protected from reboots"), "{}", concern_lines(&kit));
    }
}

#[test]
fn what_may_never_reboot_and_what_is_heard_takes_no_confirmation() {
    let mut kit = one_silent(RebootRule::Never);
    assert!(refusal(&mut kit, Command::ConfirmReboot(D1)).contains("reboot = \"never\""));
    assert!(refusal(&mut kit, Command::ConfirmReboot(DroneId(2))).contains("no reboot is pending"));
    up_to_the_reboot(&mut kit);
    assert_eq!(kit.drone_state(D1), DroneState::Lost);
    assert!(refusal(&mut kit, Command::ConfirmReboot(D1)).contains("swarmctl drone resume oak"));
}

#[test]
fn budgets_bound_what_is_done_to_one_machine_and_to_all() {
    let mut kit = one_silent(RebootRule::Allow);
    kit.swarm.policy.heal.restarts_per_drone = 1;
    take(&mut kit, Probe, Done);
    take(&mut kit, Restart, Done);
    silent(&mut kit, 3_600_000);
    assert!(due(&kit).is_empty());
    assert!(concern_lines(&kit).contains("healing restarts its service in 23 h"), "{}", concern_lines(&kit));
    silent(&mut kit, 84_000_000);
    take(&mut kit, Restart, Done);

    let mut kit = one_silent(RebootRule::Allow);
    kit.swarm.policy.heal.reboots_per_day = 1;
    up_to_the_reboot(&mut kit);
    take(&mut kit, Reboot, Done);
    // The next machine has to wait until tomorrow.
    kit.pass(10_000, &[D1, DroneId(2), DroneId(3)]);
    for (step, drone) in [(Probe, 2), (Restart, 2), (Restart, 2), (Kill, 2)] {
        let drone = DroneId(drone);
        for _ in 0..60 {
            if due(&kit) == [(drone, step)] {
                break;
            }
            kit.pass(10_000, &[D1, DroneId(3)]);
        }
        kit.must(Command::BeginHealing { drone, step });
        let detail = String::new();
        kit.must(Command::ReportHealing { drone, step, outcome: Done, detail, boot_id: None });
    }
    kit.pass(3_600_000, &[D1, DroneId(3)]);
    assert!(due(&kit).is_empty());
    assert!(concern_lines(&kit).contains("healing reboots its machine in 2"), "{}", concern_lines(&kit));
}

#[test]
fn one_machine_reboots_at_a_time() {
    let mut kit = reachable(&["oak", "elm", "ash", "fir", "yew"], RebootRule::Allow);
    kit.pass(130_000, &[DroneId(3), DroneId(4), DroneId(5)]);
    let two = [D1, DroneId(2)];
    for step in [Probe, Restart, Restart, Kill] {
        for drone in two {
            kit.must(Command::BeginHealing { drone, step });
            let detail = String::new();
            kit.must(Command::ReportHealing { drone, step, outcome: Done, detail, boot_id: None });
        }
        kit.pass(if step == Probe { 10_000 } else { 190_000 }, &[DroneId(3), DroneId(4), DroneId(5)]);
    }
    assert_eq!(due(&kit), [(D1, Reboot), (DroneId(2), Reboot)]);
    kit.must(Command::BeginHealing { drone: D1, step: Reboot });
    assert!(due(&kit).is_empty());
    assert!(
        refusal(&mut kit, Command::BeginHealing { drone: DroneId(2), step: Reboot }).contains("is not due")
    );
}
