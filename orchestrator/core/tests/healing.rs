//! The ladder, rung by rung: the shell is played by the test, every rule is the core's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod kit;

use kit::{Kit, name};
use swarm_common::{id::*, state::*, wire::view::Concern};
use swarm_core::{
    Command, Refusal, Swarm, heal,
    heal::{Reach, RebootRule},
    view,
};

const D1: DroneId = DroneId(1);

/// Drones whose machines can be reached, and no longer in the grace after the start.
fn reachable(drones: &[&str], reboot: RebootRule) -> Kit {
    let mut kit = Kit::new(drones);
    for drone in drones {
        kit.swarm.policy.heal.reach.insert(name(drone), Reach { reboot, protected: false });
    }
    let all: Vec<DroneId> = kit.swarm.drones.keys().copied().collect();
    kit.pass(100_000, &all);
    kit
}

/// One of three is silent, for long enough to be healed.
fn one_silent(reboot: RebootRule) -> Kit {
    let mut kit = reachable(&["oak", "elm", "ash"], reboot);
    silent(&mut kit, 130_000);
    kit
}

/// `oak` says nothing for a while, the others live.
fn silent(kit: &mut Kit, ms: u64) {
    let others: Vec<DroneId> = kit.swarm.drones.keys().copied().filter(|d| *d != D1).collect();
    kit.pass(ms, &others);
}

fn due(kit: &Kit) -> Vec<(DroneId, HealStep)> {
    heal::due(&kit.swarm, kit.now)
}

fn report(kit: &mut Kit, step: HealStep, outcome: HealOutcome, detail: &str, boot_id: &str) {
    kit.must(Command::ReportHealing {
        drone: D1,
        step,
        outcome,
        detail: detail.into(),
        boot_id: (!boot_id.is_empty()).then(|| boot_id.into()),
    });
}

/// Waits until a step is due, and takes it.
fn take(kit: &mut Kit, step: HealStep, outcome: HealOutcome) {
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

fn concerns(swarm: &Swarm, kit: &Kit) -> Vec<Concern> {
    view::status(swarm, kit.now, "0", &[]).concerns
}

fn said(kit: &Kit) -> String {
    let lines = concerns(&kit.swarm, kit).into_iter().map(|c| format!("{} -> {}", c.what, c.next));
    lines.collect::<Vec<_>>().join("\n")
}

fn refusal(kit: &mut Kit, command: Command) -> String {
    match kit.send(command) {
        Err(refusal @ Refusal::WrongState { .. }) => refusal.to_string(),
        other => panic!("{other:?}"),
    }
}

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
        said(&kit).contains("drone oak is lost: neither restarts nor a reboot brought it back"),
        "{}",
        said(&kit)
    );
    assert!(due(&kit).is_empty());
}

#[test]
fn nothing_is_done_before_a_silence_has_lasted() {
    let mut kit = reachable(&["oak", "elm", "ash"], RebootRule::Allow);
    silent(&mut kit, 80_000);
    assert_eq!(kit.drone_state(D1), DroneState::Offline);
    assert!(due(&kit).is_empty());
    assert!(said(&kit).contains("drone oak is offline: silent for"), "{}", said(&kit));
    assert!(said(&kit).contains("healing asks its machine in "), "{}", said(&kit));
}

#[test]
fn a_drone_that_is_heard_is_left_alone_and_starts_at_the_bottom_once_it_was_well_for_a_while() {
    let mut kit = one_silent(RebootRule::Allow);
    take(&mut kit, Probe, Done);
    take(&mut kit, Restart, Done);
    kit.pass(60_000, &[D1, DroneId(2), DroneId(3)]);
    assert_eq!(kit.drone_state(D1), DroneState::Online);
    // It comes and goes: healing goes on where it was.
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
fn more_than_half_of_the_drones_at_once_is_our_fault_and_nobody_is_healed() {
    let mut kit = reachable(&["oak", "elm", "ash", "fir", "yew"], RebootRule::Allow);
    kit.pass(200_000, &[DroneId(4), DroneId(5)]);
    assert!(due(&kit).is_empty());
    let lines = said(&kit);
    assert!(
        lines.contains("3 of 5 drones fell silent together (oak, elm, ash) -> probably it is this"),
        "{lines}"
    );
    assert!(lines.contains("drone oak is offline: silent for 70 s -> healing rests: 3 of 5"), "{lines}");
    kit.pass(4_000_000, &[DroneId(4), DroneId(5)]);
    assert!(due(&kit).is_empty());
    assert_eq!(kit.drone_state(D1), DroneState::Offline, "nobody is given up meanwhile");
    // One returns: now two of five are silent, and they are healed.
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
    assert!(said(&kit).contains("healing rests: the orchestrator has just started"), "{}", said(&kit));
    silent(&mut kit, 90_000);
    assert_eq!(due(&kit), [(D1, Probe)]);
}

#[test]
fn a_drone_that_said_goodbye_or_is_drained_or_has_no_address_is_not_healed() {
    let mut kit = reachable(&["oak", "elm", "ash"], RebootRule::Allow);
    kit.must(Command::SignOff { drone: D1, reason: "stopping".into() });
    silent(&mut kit, 300_000);
    assert!(due(&kit).is_empty());
    assert!(!said(&kit).contains("oak"), "{}", said(&kit));

    let mut kit = reachable(&["oak", "elm", "ash"], RebootRule::Allow);
    kit.must(Command::DrainDrone(D1));
    silent(&mut kit, 300_000);
    assert!(due(&kit).is_empty());

    let mut kit = one_silent(RebootRule::Allow);
    kit.swarm.policy.heal.reach.remove(&name("oak"));
    assert!(due(&kit).is_empty());
    assert!(said(&kit).contains("healing needs `[healing.drone.oak]`"), "{}", said(&kit));
}

#[test]
fn a_machine_that_is_another_or_is_not_known_is_never_touched_and_a_person_is_told() {
    for outcome in HealOutcome::ALL.iter().copied().filter(|o| o.is_hands_off()) {
        let mut kit = one_silent(RebootRule::Allow);
        take(&mut kit, Probe, outcome);
        silent(&mut kit, 10_000);
        assert_eq!(kit.drone_state(D1), DroneState::Lost);
        assert!(said(&kit).contains("drone oak is lost: what was seen -> `swarmctl drone resume oak`"));
        silent(&mut kit, 90_000_000);
        assert!(due(&kit).is_empty(), "{outcome}");
        // An admin has seen to it.
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
    assert!(said(&kit).contains("its machine did not answer 5 times: what was seen"), "{}", said(&kit));
    // Somebody switches it on.
    kit.pass(10_000, &[D1, DroneId(2), DroneId(3)]);
    assert_eq!(kit.drone_state(D1), DroneState::Online);
}

/// Climbs to where only a reboot is left.
fn up_to_the_reboot(kit: &mut Kit) {
    take(kit, Probe, Done);
    take(kit, Restart, Done);
    take(kit, Restart, Done);
    take(kit, Kill, Done);
    silent(kit, 200_000);
}

#[test]
fn a_reboot_waits_for_the_admins_word_where_that_is_asked_for() {
    let mut kit = one_silent(RebootRule::Ask);
    up_to_the_reboot(&mut kit);
    silent(&mut kit, 5_000_000);
    assert!(due(&kit).is_empty());
    let status = view::status(&kit.swarm, kit.now, "0", &[]);
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
            let said = refusal(&mut kit, Command::ProtectDrone { drone: D1, protected: false });
            assert!(said.contains("`[healing.drone.oak]` protects it"), "{said}");
        } else {
            kit.must(Command::ProtectDrone { drone: D1, protected: true });
        }
        assert!(refusal(&mut kit, Command::ConfirmReboot(D1)).contains("protect"));
        assert!(view::drone(&kit.swarm, kit.now, D1).unwrap().protected);
        up_to_the_reboot(&mut kit);
        assert!(due(&kit).is_empty());
        assert_eq!(kit.drone_state(D1), DroneState::Lost);
        assert!(said(&kit).contains("it is protected from reboots"), "{}", said(&kit));
    }
}

#[test]
fn what_may_never_reboot_and_what_is_heard_takes_no_confirmation() {
    let mut kit = one_silent(RebootRule::Never);
    assert!(refusal(&mut kit, Command::ConfirmReboot(D1)).contains("reboot = \"never\""));
    assert!(refusal(&mut kit, Command::ConfirmReboot(DroneId(2))).contains("reboots nothing"));
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
    assert!(said(&kit).contains("healing restarts its service in 23 h (2 of 2)"), "{}", said(&kit));
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
    assert!(said(&kit).contains("healing reboots its machine in 2"), "{}", said(&kit));
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

#[test]
fn the_state_of_healing_survives_a_snapshot() {
    let mut kit = one_silent(RebootRule::Ask);
    take(&mut kit, Probe, Done);
    kit.must(Command::BeginHealing { drone: D1, step: Restart });
    let text = serde_json::to_string(&kit.swarm).unwrap();
    let read: Swarm = serde_json::from_str(&text).unwrap();
    assert_eq!((read.drones, read.acts), (kit.swarm.drones.clone(), kit.swarm.acts.clone()));
}
