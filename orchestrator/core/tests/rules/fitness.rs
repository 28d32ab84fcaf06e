//! What drones report about themselves that keeps them from building or delivering.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::kit::{Kit, name};
use swarm_common::{
    state::Phase,
    wire::{admin::BuilderKind, drone::*},
};
use swarm_core::{Command, Reply, view};

fn concerns(kit: &Kit) -> Vec<String> {
    view::concerns(&kit.swarm, kit.now, kit.now, &[]).into_iter().map(|concern| concern.what).collect()
}

fn beat(kit: &mut Kit, change: impl FnOnce(&mut DroneFacts), attempts: Vec<AttemptStatus>) -> HeartbeatReply {
    let drone = *kit.swarm.drones.keys().next().unwrap();
    let mut facts = kit.swarm.drones[&drone].facts.clone();
    change(&mut facts);
    let request = HeartbeatRequest {
        vitals: Vitals::default(),
        attempts,
        draining: false,
        boot_id: "1".into(),
        facts: Some(facts),
        highest_attempt: None,
    };
    match kit.must(Command::Heartbeat { drone, request }) {
        Reply::Heartbeat(reply) => reply,
        other => panic!("{other:?}"),
    }
}

#[test]
fn changed_facts_are_taken_at_once_but_not_again_within_ten_seconds() {
    let mut kit = Kit::new(&["oak"]);
    let oak = *kit.swarm.drones.keys().next().unwrap();
    let boot = |kit: &mut Kit, boot_id: String| {
        let (vitals, attempts) = (Vitals::default(), Vec::new());
        let request = HeartbeatRequest {
            vitals,
            attempts,
            draining: false,
            boot_id,
            facts: None,
            highest_attempt: None,
        };
        kit.must(Command::Heartbeat { drone: oak, request });
    };
    let before = kit.swarm.seq;
    for second in 0..95 {
        let cores = 10 + second;
        let reply = beat(&mut kit, |facts| facts.cores = cores, Vec::new());
        assert_eq!(reply.facts_deferred, second % 10 != 0, "{second}");
        boot(&mut kit, format!("boot {second}"));
        // Facts that are already in the journal are not a change.
        assert!(!beat(&mut kit, |_| {}, Vec::new()).facts_deferred);
        kit.now = kit.now + 1000;
    }
    assert_eq!(kit.swarm.seq - before, 10);
    assert_eq!(kit.swarm.drones[&oak].facts.cores, 100);
    // An honest drone repeats its facts until they are accepted.
    let (known, last) = (kit.swarm.seq, kit.now);
    while beat(&mut kit, |facts| facts.cores = 7, Vec::new()).facts_deferred {
        kit.now = kit.now + 1000;
    }
    assert_eq!((kit.swarm.seq, kit.swarm.drones[&oak].facts.cores), (known + 1, 7));
    assert!(kit.now.since(last) <= 10_000);
}

#[test]
fn a_drone_that_lacks_programs_or_a_disk_gets_no_work_and_is_named_until_it_has_them() {
    for (change, named) in [
        (
            (|facts: &mut DroneFacts| facts.lacks = vec!["scanelf".into(), "zstd".into()]) as fn(&mut _),
            "drone oak lacks programs to build in its own system: scanelf, zstd",
        ),
        (
            |facts: &mut DroneFacts| facts.unusable = vec!["/var/tmp cannot be used: Read-only".into()],
            "drone oak cannot build: /var/tmp cannot be used: Read-only",
        ),
    ] {
        let mut kit = Kit::new(&["oak"]);
        let drone = *kit.swarm.drones.keys().next().unwrap();
        kit.run(&["a-1"], &[]);
        beat(&mut kit, change, Vec::new());
        assert_eq!(kit.claim(drone), None);
        let lines = concerns(&kit);
        assert!(lines.iter().any(|line| line == named), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("is stalled")), "{lines:?}");
        kit.now = kit.now + 10_000;
        beat(
            &mut kit,
            |facts| {
                facts.lacks.clear();
                facts.unusable.clear();
            },
            Vec::new(),
        );
        assert_eq!(concerns(&kit), [""; 0]);
        assert!(kit.claim(drone).is_some());
    }
}

#[test]
fn a_drone_with_nix_needs_no_portage_where_all_profiles_are_of_nix() {
    let mut kit = Kit::new(&["oak"]);
    let lacks = |facts: &mut DroneFacts| {
        facts.lacks = vec!["Portage".into()];
        facts.nix = Some("2.8.0".into());
    };
    beat(&mut kit, lacks, Vec::new());
    assert!(
        concerns(&kit).iter().any(|line| line.contains("its own system: Portage")),
        "{:?}",
        concerns(&kit)
    );
    let mut request = kit.swarm.profiles[&name("desk")].request.clone();
    request.builder = BuilderKind::Nix;
    kit.must(Command::PutProfile { name: name("hosts"), request });
    kit.must(Command::RemoveProfile(name("desk")));
    assert_eq!(concerns(&kit), [""; 0]);
}

#[test]
fn a_delivery_that_does_not_get_through_is_told_after_two_minutes_with_what_was_answered() {
    let mut kit = Kit::new(&["oak"]);
    let drone = *kit.swarm.drones.keys().next().unwrap();
    kit.run(&["a-1"], &[]);
    let work = kit.claim(drone).unwrap();
    let status = |for_ms| AttemptStatus {
        attempt: work.attempt,
        phase: Phase::Uploading,
        stuck: Some(Stuck { for_ms, why: "HTTP 413\u{9b}31m".into() }),
        made_from: None,
    };
    beat(&mut kit, |_| {}, vec![status(119_000)]);
    assert_eq!(concerns(&kit), [""; 0]);
    beat(&mut kit, |_| {}, vec![status(120_000)]);
    let lines = concerns(&kit);
    assert!(lines[0].contains("drone oak cannot deliver") && lines[0].ends_with("HTTP 41331m"), "{lines:?}");
    beat(&mut kit, |_| {}, vec![AttemptStatus { stuck: None, ..status(0) }]);
    assert_eq!(concerns(&kit), [""; 0]);
}
