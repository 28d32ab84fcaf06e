//! A drone that is malicious or merely broken, beside one that works.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::kit::Kit;
use swarm_common::{
    id::*,
    state::*,
    wire::drone::{AttemptStatus, HeartbeatRequest},
};
use swarm_core::{Command, quarantine};

const EVE: DroneId = DroneId(1);
const OAK: DroneId = DroneId(2);
const PACKAGE: PackageId = PackageId(1);

/// Eve, the only drone, is assigned the package and reports this failure.
fn eve_fails(kit: &mut Kit, signature: &str) {
    kit.pass(900_000, &[EVE]);
    let work = kit.claim(EVE).unwrap();
    kit.fail(EVE, &work, FailureClass::Package, signature);
}

#[test]
fn one_drones_word_quarantines_nothing_for_long_while_another_can_try() {
    let mut kit = Kit::new(&["eve", "oak"]);
    kit.must(Command::SignOff { drone: OAK, reason: "a test".into() });
    kit.run(&["good-1"], &[]);
    for n in 1..kit.swarm.policy.package_failures {
        eve_fails(&mut kit, &format!("invented {n}"));
    }
    kit.pass(900_000, &[EVE]);
    let last = kit.claim(EVE).unwrap();
    kit.heartbeat(OAK, &[]);
    kit.fail(EVE, &last, FailureClass::Package, "invented as well");
    assert_eq!((kit.state(1), quarantine::of(&kit.swarm, PACKAGE)), (PackageState::Needed, None));
    kit.pass(900_000, &[EVE, OAK]);
    let work = kit.claim(OAK).unwrap();
    kit.deliver(OAK, &work).unwrap();
    assert_eq!(kit.state(1), PackageState::Received);
}

#[test]
fn what_one_of_two_drones_alone_keeps_failing_at_is_given_up_for_this_run_only() {
    let mut kit = Kit::new(&["eve", "oak"]);
    kit.run(&["good-1"], &[]);
    let mut failures = 0;
    while kit.state(1) == PackageState::Needed {
        kit.pass(900_000, &[EVE, OAK]);
        let work = kit.claim(EVE).unwrap();
        failures += 1;
        kit.fail(EVE, &work, FailureClass::Package, &format!("invented {failures}"));
    }
    assert_eq!((kit.state(1), failures), (PackageState::Quarantined, 2 * kit.swarm.policy.package_failures));
    assert_eq!(quarantine::of(&kit.swarm, PACKAGE), None);
}

#[test]
fn what_the_only_drone_said_holds_until_another_can_try_and_two_hold_it_for_all_runs() {
    let mut kit = Kit::new(&["eve", "oak"]);
    kit.must(Command::SignOff { drone: OAK, reason: "a test".into() });
    kit.run(&["good-1"], &[]);
    eve_fails(&mut kit, "invented");
    eve_fails(&mut kit, "invented");
    assert_eq!(kit.state(1), PackageState::Quarantined);
    assert!(quarantine::of(&kit.swarm, PACKAGE).is_some());
    kit.run(&["good-1"], &[]);
    assert!(kit.swarm.packages[&PackageId(2)].held, "nobody else is there");

    kit.heartbeat(OAK, &[]);
    kit.run(&["good-1"], &[]);
    assert_eq!(kit.state(3), PackageState::Needed);
    // The same failure from the same drone changes nothing.
    let work = kit.claim(EVE).unwrap();
    kit.fail(EVE, &work, FailureClass::Package, "invented");
    assert_eq!(kit.state(3), PackageState::Needed);
    kit.pass(10_000, &[EVE, OAK]);
    let work = kit.claim(OAK).unwrap();
    kit.fail(OAK, &work, FailureClass::Package, "invented");
    assert_eq!(kit.state(3), PackageState::Quarantined);
    kit.run(&["good-1"], &[]);
    assert!(kit.swarm.packages[&PackageId(4)].held, "two drones agree");
}

#[test]
fn an_attempt_that_never_ends_is_given_to_another_drone_whatever_its_drone_says() {
    let mut kit = Kit::new(&["eve", "oak"]);
    kit.swarm.policy.build_timeout_ms = 60_000;
    kit.run(&["good-1"], &[]);
    let held = kit.claim(EVE).unwrap();
    kit.must(Command::Heartbeat {
        drone: EVE,
        request: HeartbeatRequest {
            vitals: Default::default(),
            attempts: vec![AttemptStatus {
                attempt: held.attempt,
                phase: Phase::Uploading,
                stuck: None,
                made_from: None,
            }],
            draining: false,
            boot_id: "1".into(),
            facts: None,
            highest_attempt: None,
        },
    });
    let mut hours = 0;
    while kit.swarm.attempts[&held.attempt].is_live() {
        kit.pass(3_600_000, &[EVE, OAK]);
        hours += 1;
    }
    assert_eq!(hours, 25);
    assert_eq!(kit.heartbeat(EVE, &[held.attempt]).cancel, [], "its result would still count");
    assert_eq!(kit.state(1), PackageState::Needed, "but it is not given back");
    let work = kit.claim(OAK).unwrap();
    kit.deliver(OAK, &work).unwrap();
    assert!(kit.deliver(EVE, &held).is_err());
}
