//! The healing ladder, step by step. The test plays the shell; every rule is the core's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::kit::{ladder::*, name};
use swarm_common::{id::*, state::*};
use swarm_core::{Command, Swarm, policy::RebootRule};

use HealOutcome::{CutOff, Done, Failed, Hung, OtherMachine, SameBoot, TimedOut};
use HealStep::{Kill, Probe, Reboot, Restart};

#[test]
fn the_ladder_goes_from_a_probe_to_a_reboot_and_then_to_a_person() {
    let mut kit = one_silent(RebootRule::Allow);
    take(&mut kit, Probe, Done);
    take(&mut kit, Restart, Done);
    let began = kit.now;
    take(&mut kit, Restart, Failed);
    assert!(kit.now.since(began) >= 180_000, "a restarted drone gets its time to be heard");
    take(&mut kit, Kill, Done);
    take(&mut kit, Reboot, SameBoot);
    assert_eq!(kit.drone_state(D1), DroneState::Offline);
    silent(&mut kit, 200_000);
    assert_eq!(kit.drone_state(D1), DroneState::Lost);
    assert!(
        concern_lines(&kit).contains("drone oak is lost: it is still silent after restarts and a reboot"),
        "{}",
        concern_lines(&kit)
    );
    assert!(due(&kit).is_empty());
}

#[test]
fn nothing_is_done_before_a_silence_has_lasted() {
    let mut kit = reachable(&["oak", "elm", "ash"], RebootRule::Allow);
    silent(&mut kit, 80_000);
    assert_eq!(kit.drone_state(D1), DroneState::Offline);
    assert!(due(&kit).is_empty());
    assert!(concern_lines(&kit).contains("drone oak is offline: silent for"), "{}", concern_lines(&kit));
    assert!(concern_lines(&kit).contains("healing probes its machine in "), "{}", concern_lines(&kit));
}

#[test]
fn a_drone_that_is_heard_is_left_alone_and_starts_at_the_bottom_once_it_was_well_for_a_while() {
    let mut kit = one_silent(RebootRule::Allow);
    take(&mut kit, Probe, Done);
    take(&mut kit, Restart, Done);
    kit.pass(60_000, &[D1, DroneId(2), DroneId(3)]);
    assert_eq!(kit.drone_state(D1), DroneState::Online);
    // It returns and disappears again: healing continues where it was.
    silent(&mut kit, 130_000);
    take(&mut kit, Restart, Done);
    kit.pass(2_000_000, &[D1, DroneId(2), DroneId(3)]);
    assert!(kit.swarm.drones[&D1].healing.tried.is_empty());
    silent(&mut kit, 130_000);
    take(&mut kit, Probe, Done);
    take(&mut kit, Restart, Done);
}

#[test]
fn a_step_that_nobody_reported_is_judged_again_after_its_time() {
    let mut kit = one_silent(RebootRule::Allow);
    take(&mut kit, Probe, Done);
    kit.must(Command::BeginHealing { drone: D1, step: Restart });
    // The orchestrator is killed here.
    kit.must(Command::StartOrchestrator);
    assert!(due(&kit).is_empty());
    silent(&mut kit, 130_000);
    let last = kit.swarm.drones[&D1].healing.last().cloned().unwrap();
    assert_eq!((last.step, last.outcome), (Restart, HealOutcome::Unseen));
    take(&mut kit, Restart, Done);
}

#[test]
fn a_reboot_that_nobody_saw_the_end_of_is_judged_by_the_boot_id() {
    for (boot_id, rebooted) in [("1", false), ("2", true)] {
        let mut kit = one_silent(RebootRule::Allow);
        take(&mut kit, Probe, Done);
        take(&mut kit, Restart, Hung);
        take(&mut kit, Kill, CutOff);
        for _ in 0..30 {
            if !due(&kit).is_empty() {
                break;
            }
            silent(&mut kit, 10_000);
        }
        kit.must(Command::BeginHealing { drone: D1, step: Reboot });
        silent(&mut kit, 800_000);
        assert_eq!(due(&kit), [(D1, Probe)]);
        kit.must(Command::BeginHealing { drone: D1, step: Probe });
        report(&mut kit, Probe, Done, "", boot_id);
        assert_eq!(kit.swarm.drones[&D1].facts.boot_id == "2", rebooted);
        silent(&mut kit, 200_000);
        assert_eq!(kit.drone_state(D1), DroneState::Lost, "no second reboot");
    }
}

#[test]
fn only_the_step_that_is_due_can_begin_and_only_once() {
    let mut kit = one_silent(RebootRule::Allow);
    assert!(refusal(&mut kit, Command::BeginHealing { drone: D1, step: Reboot }).contains("is not due"));
    assert!(
        refusal(&mut kit, Command::BeginHealing { drone: DroneId(2), step: Probe }).contains("is not due")
    );
    kit.must(Command::BeginHealing { drone: D1, step: Probe });
    assert!(refusal(&mut kit, Command::BeginHealing { drone: D1, step: Probe }).contains("is not due"));
}

#[test]
fn a_drone_that_said_goodbye_or_is_drained_or_has_no_address_is_not_healed() {
    let mut kit = reachable(&["oak", "elm", "ash"], RebootRule::Allow);
    kit.must(Command::SignOff { drone: D1, reason: "stopping".into() });
    silent(&mut kit, 300_000);
    assert!(due(&kit).is_empty());
    assert!(!concern_lines(&kit).contains("oak"), "{}", concern_lines(&kit));

    let mut kit = reachable(&["oak", "elm", "ash"], RebootRule::Allow);
    kit.must(Command::DrainDrone(D1));
    silent(&mut kit, 300_000);
    assert!(due(&kit).is_empty());

    let mut kit = one_silent(RebootRule::Allow);
    kit.swarm.policy.heal.reach.remove(&name("oak"));
    assert!(due(&kit).is_empty());
    assert!(concern_lines(&kit).contains("healing needs `[healing.drone.oak]`"), "{}", concern_lines(&kit));
}

#[test]
fn a_machine_that_is_another_or_is_not_known_is_never_touched_and_a_person_is_told() {
    for outcome in HealOutcome::ALL.iter().copied().filter(|o| o.is_hands_off()) {
        let mut kit = one_silent(RebootRule::Allow);
        take(&mut kit, Probe, outcome);
        silent(&mut kit, 10_000);
        assert_eq!(kit.drone_state(D1), DroneState::Lost);
        assert!(
            concern_lines(&kit).contains("drone oak is lost: what was seen -> `swarmctl drone resume oak`")
        );
        silent(&mut kit, 90_000_000);
        assert!(due(&kit).is_empty(), "{outcome}");
        // An admin has intervened.
        kit.must(Command::ResumeDrone(D1));
        take(&mut kit, Probe, Done);
    }
    let mut kit = one_silent(RebootRule::Allow);
    take(&mut kit, Probe, Done);
    take(&mut kit, Restart, OtherMachine);
    silent(&mut kit, 10_000);
    assert_eq!(kit.drone_state(D1), DroneState::Lost);
}

#[test]
fn a_machine_that_does_not_answer_is_asked_ever_more_rarely_and_then_given_up() {
    let mut kit = one_silent(RebootRule::Allow);
    let mut waits = Vec::new();
    for _ in 0..5 {
        let from = kit.now;
        take(&mut kit, Probe, TimedOut);
        waits.push(kit.now.since(from) / 60_000);
    }
    assert_eq!(waits, [0, 1, 2, 4, 8]);
    silent(&mut kit, 10_000);
    assert_eq!(kit.drone_state(D1), DroneState::Lost);
    assert!(
        concern_lines(&kit).contains("its machine was unreachable 5 times: what was seen"),
        "{}",
        concern_lines(&kit)
    );
    // Somebody switches the machine on.
    kit.pass(10_000, &[D1, DroneId(2), DroneId(3)]);
    assert_eq!(kit.drone_state(D1), DroneState::Online);
}

#[test]
fn the_state_of_healing_survives_a_snapshot() {
    let mut kit = one_silent(RebootRule::Ask);
    take(&mut kit, Probe, Done);
    kit.must(Command::BeginHealing { drone: D1, step: Restart });
    let text = serde_json::to_string(&kit.swarm).unwrap();
    let read: Swarm = serde_json::from_str(&text).unwrap();
    assert_eq!((read.drones, read.acts), (kit.swarm.drones.clone(), kit.swarm.acts.clone()));
}
