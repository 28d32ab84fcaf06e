//! Drones that run several builds at a time.

#![allow(clippy::unwrap_used)] // Tests may use this.

use crate::kit::{self, Kit, package_of};
use swarm_common::{id::*, state::*, wire::drone::*};
use swarm_core::Command;

/// A drone with this many slots and 4 processors.
fn drone(kit: &mut Kit, name: &str, slots: u32) -> DroneId {
    let id = kit.enrol(name);
    kit.swarm.drones.get_mut(&id).unwrap().facts.slots = slots;
    id
}

/// A kit with one such drone and these packages, which were built before, took 100 s each and needed this
/// much memory.
fn kit(slots: u32, packages: &[&str], gib: u64) -> (Kit, DroneId) {
    let mut kit = Kit::new(&[]);
    let id = drone(&mut kit, "a", slots);
    for package in packages {
        let (name, version) = package.rsplit_once('-').unwrap();
        kit.swarm.history.note(&format!("app/{name}"), version, 100_000, (gib << 30, 4));
    }
    kit.run(packages, &[]);
    (kit, id)
}

fn say_uploading(kit: &mut Kit, drone: DroneId, attempt: AttemptId) {
    let request = HeartbeatRequest {
        vitals: Vitals::default(),
        attempts: vec![AttemptStatus { attempt, phase: Phase::Uploading, stuck: None, made_from: None }],
        draining: false,
        boot_id: "1".into(),
        facts: None,
        highest_attempt: None,
    };
    kit.must(Command::Heartbeat { drone, request });
}

#[test]
fn a_drone_gets_a_build_for_each_slot_and_the_next_when_one_is_free() {
    let (mut kit, a) = kit(2, &["x-1", "y-1", "z-1"], 0);
    let first = kit.claim(a).unwrap();
    let second = kit.claim(a).unwrap();
    let reason = kit.claim_reply(a, "third").reason.unwrap();
    assert_eq!(reason, format!("it has {}, {} already", first.attempt, second.attempt));
    // Its package still has to be uploaded, but its slot is free.
    say_uploading(&mut kit, a, first.attempt);
    assert!(kit.claim(a).is_some());
    assert_eq!(kit.claim(a), None);
}

#[test]
fn a_drone_that_does_not_tell_of_slots_has_one() {
    let (mut kit, a) = kit(0, &["x-1", "y-1"], 0);
    assert!(kit.claim(a).is_some());
    assert_eq!(kit.claim(a), None);
}

#[test]
fn the_memory_of_all_slots_together_is_the_machines() {
    // The machine has 8 GiB.
    let (mut kit, a) = kit(3, &["x-1", "y-1", "z-1"], 3);
    let free = |key: &str| ClaimRequest { key: key.into(), wait_ms: 0, memory_free_bytes: 0 };
    let claim = |kit: &mut Kit, key: &str| match kit.must(Command::Claim { drone: a, request: free(key) }) {
        swarm_core::Reply::Claim(reply) => *reply,
        other => panic!("{other:?}"),
    };
    let first = claim(&mut kit, "1").assignment.unwrap();
    assert!(claim(&mut kit, "2").assignment.is_some());
    let reason = claim(&mut kit, "3").reason.unwrap();
    assert!(reason.contains("takes more memory than is free here"), "{reason}");
    kit.deliver(a, &first).unwrap();
    assert!(claim(&mut kit, "4").assignment.is_some());
}

#[test]
fn what_was_killed_for_its_memory_has_the_drone_to_itself() {
    let (mut kit, a) = kit(2, &["x-1", "y-1", "z-1"], 0);
    let greedy = kit.claim(a).unwrap();
    let other = kit.claim(a).unwrap();
    kit.pass(10_000, &[a]);
    kit.fail_for(a, &greedy, FailureClass::Drone, "killed", Some(FailureCause::OutOfMemory));
    kit.pass(600_000, &[a]);
    let last = kit.claim(a).unwrap();
    assert_ne!(package_of(&last), package_of(&greedy), "it has neighbours");
    kit.deliver(a, &other).unwrap();
    assert_eq!(kit.claim(a), None, "one neighbour is left");
    kit.deliver(a, &last).unwrap();
    assert_eq!(package_of(&kit.claim(a).unwrap()), package_of(&greedy));
}

#[test]
fn of_two_lost_builds_of_one_package_on_one_drone_one_is_revived() {
    let (mut kit, a) = kit(2, &["x-1"], 0);
    let first = kit.claim(a).unwrap();
    kit.pass(600_000, &[]);
    // It has returned, and claims before it reports its running builds.
    let second = kit.claim(a).unwrap();
    assert_eq!(package_of(&first), package_of(&second));
    kit.pass(600_000, &[]);
    let status = |work: &Assignment| AttemptStatus {
        attempt: work.attempt,
        phase: Phase::Building,
        stuck: None,
        made_from: None,
    };
    let request = HeartbeatRequest {
        vitals: Vitals::default(),
        attempts: vec![status(&first), status(&second)],
        draining: false,
        boot_id: "1".into(),
        facts: None,
        highest_attempt: None,
    };
    kit.must(Command::Heartbeat { drone: a, request });
    let live: Vec<AttemptId> = kit.swarm.attempts_of(a).map(|(id, _)| id).collect();
    assert_eq!(live, [first.attempt], "the one that has built for longest");
}

#[test]
fn what_is_needed_at_once_goes_to_an_idle_drone_before_a_second_slot() {
    let (mut kit, a) = kit(2, &["x-1", "y-1"], 0);
    let b = drone(&mut kit, "b", 1);
    kit.claim(a).unwrap();
    kit.swarm.live.waiting.insert(b, kit.now + 60_000);
    let reason = kit.claim_reply(a, "second").reason.unwrap();
    assert_eq!(reason, "held back: app/y-1 will be finished sooner by b");
    assert!(kit.claim(b).is_some());
}

#[test]
fn neighbours_make_builds_longer_and_teach_neither_a_slow_drone_nor_more_work() {
    let (mut kit, a) = kit(2, &["x-1", "y-1"], 0);
    let speed = kit.swarm.drones[&a].speed_permille;
    let both = [kit.claim(a).unwrap(), kit.claim(a).unwrap()];
    // 1.4 times what each one takes alone.
    kit.pass(140_000, &[a]);
    for work in &both {
        let usage = Usage { wall_ms: 140_000, ..Usage::default() };
        let artifacts = kit::artifacts(a, work);
        kit.must(Command::ReceivePackage { drone: a, attempt: work.attempt, artifacts, usage });
        let learnt = kit.swarm.packages[&package_of(work)].predicted_ms;
        assert!((90_000..=110_000).contains(&learnt), "{learnt} ms");
    }
    let learnt = kit.swarm.drones[&a].speed_permille;
    assert!(learnt.abs_diff(speed) <= speed / 20, "{speed}, then {learnt}");
}

#[test]
fn what_a_heartbeat_tells_of_the_machine_is_believed() {
    let mut kit = Kit::new(&["a"]);
    let a = DroneId(1);
    let mut facts = kit.swarm.drones[&a].facts.clone();
    (facts.slots, facts.cores, facts.version) = (3, 8, "2".into());
    facts.profiles = vec![kit::name("lab")];
    let beat = |kit: &mut Kit| {
        let request = HeartbeatRequest {
            vitals: Vitals::default(),
            attempts: Vec::new(),
            draining: false,
            boot_id: "1".into(),
            facts: Some(facts.clone()),
            highest_attempt: None,
        };
        kit.must(Command::Heartbeat { drone: a, request });
    };
    let speed = kit.swarm.drones[&a].speed_permille;
    beat(&mut kit);
    assert_eq!(kit.swarm.drones[&a].facts, facts);
    assert_eq!(kit.swarm.drones[&a].speed_permille, 2 * speed, "it has twice the processors");
    let seq = kit.swarm.seq;
    beat(&mut kit);
    assert_eq!(kit.swarm.seq, seq, "what is known is not journaled again");
}
