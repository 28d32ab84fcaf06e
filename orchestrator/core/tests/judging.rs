//! Whose fault a failure is, and what follows from it.

mod kit;

use kit::{Kit, package_of};
use swarm_common::{id::*, state::*};
use swarm_core::Command;

const ALONE: &[&str] = &["a"];
const TWO: &[&str] = &["a", "b"];

#[test]
fn the_same_error_on_two_drones_quarantines_the_package_and_strikes_nobody() {
    let mut kit = Kit::new(TWO);
    let (a, b) = (DroneId(1), DroneId(2));
    let run = kit.run(&["user-1", "bad-1", "good-1"], &[(0, 1)]);
    let got = kit.claim(a).unwrap();
    assert_eq!(package_of(&got), PackageId(2), "the longest chain first");
    kit.fail(a, &got, FailureClass::Package, "undeclared");
    kit.pass(10_000, &[a, b]);
    let again = kit.claim(b).unwrap();
    assert_eq!(package_of(&again), PackageId(2));
    kit.fail(b, &again, FailureClass::Package, "undeclared");
    assert_eq!(kit.state(2), PackageState::Quarantined);
    assert!(kit.swarm.packages[&PackageId(2)].reason.contains("alike on a and b"));
    assert_eq!(kit.swarm.drones[&a].strikes + kit.swarm.drones[&b].strikes, 0);
    // The rest still builds, and the run ends partial.
    let good = kit.claim(a).unwrap();
    kit.deliver(a, &good).unwrap();
    assert_eq!(kit.swarm.runs[&run].state, RunState::Partial);
    assert_eq!(kit.swarm.runs[&run].reason, "1 quarantined, 1 blocked by them");
}

#[test]
fn on_the_only_drone_twice_alike_is_enough() {
    let mut kit = Kit::new(ALONE);
    kit.run(&["bad-1"], &[]);
    for _ in 0..2 {
        kit.pass(10_000, &[DroneId(1)]);
        let got = kit.claim(DroneId(1)).unwrap();
        kit.fail(DroneId(1), &got, FailureClass::Package, "undeclared");
    }
    assert_eq!(kit.state(1), PackageState::Quarantined);
}

#[test]
fn a_failed_package_waits_before_its_next_attempt_and_says_so() {
    let mut kit = Kit::new(ALONE);
    kit.run(&["bad-1"], &[]);
    let got = kit.claim(DroneId(1)).unwrap();
    kit.fail(DroneId(1), &got, FailureClass::Infra, "fetch failed");
    let reply = kit.claim_reply(DroneId(1), "k");
    assert!(reply.reason.unwrap().contains("before its next attempt"));
    kit.pass(10_000, &[DroneId(1)]);
    assert!(kit.claim(DroneId(1)).is_some());
}

#[test]
fn a_failing_package_goes_to_another_drone_where_there_is_one() {
    let mut kit = Kit::new(TWO);
    let (a, b) = (DroneId(1), DroneId(2));
    kit.run(&["x-1"], &[]);
    let got = kit.claim(a).unwrap();
    kit.fail(a, &got, FailureClass::Package, "odd");
    kit.pass(10_000, &[a, b]);
    assert!(kit.claim_reply(b, "b").assignment.is_some());
}

#[test]
fn five_strikes_ground_a_drone_and_its_pause_doubles_until_a_success() {
    let mut kit = Kit::new(TWO);
    let (a, b) = (DroneId(1), DroneId(2));
    kit.run(&["w-1", "v-1", "x-1", "y-1", "z-1", "u-1", "t-1"], &[]);
    kit.must(Command::DrainDrone(b));
    for _ in 0..4 {
        let got = kit.claim(a).unwrap();
        kit.fail(a, &got, FailureClass::Drone, "no space left");
    }
    assert_eq!(kit.drone_state(a), DroneState::Online);
    kit.must(Command::ResumeDrone(b));
    let got = kit.claim(a).unwrap();
    kit.fail(a, &got, FailureClass::Drone, "no space left");
    assert_eq!(kit.drone_state(a), DroneState::Grounded);
    assert!(kit.claim_reply(a, "k").reason.unwrap().contains("5 strikes"));
    kit.pass(kit.swarm.policy.ground_ms, &[a, b]);
    assert_eq!(kit.drone_state(a), DroneState::Online);
    assert_eq!(kit.swarm.drones[&a].groundings, 1);
}

#[test]
fn the_last_drone_able_to_work_is_not_grounded() {
    let mut kit = Kit::new(ALONE);
    kit.run(&["w-1", "v-1", "x-1", "y-1", "z-1", "u-1"], &[]);
    for _ in 0..6 {
        let got = kit.claim(DroneId(1)).unwrap();
        kit.fail(DroneId(1), &got, FailureClass::Drone, "no space left");
    }
    assert_eq!(kit.drone_state(DroneId(1)), DroneState::Online);
    assert_eq!(kit.swarm.drones[&DroneId(1)].strikes, 6);
}

#[test]
fn failures_of_any_class_are_bounded() {
    let mut kit = Kit::new(ALONE);
    kit.run(&["x-1"], &[]);
    let mut tries = 0;
    while kit.state(1) != PackageState::Quarantined {
        kit.pass(900_000, &[DroneId(1)]);
        let got = kit.claim(DroneId(1)).unwrap();
        kit.fail(DroneId(1), &got, FailureClass::Infra, "mirror is down");
        tries += 1;
    }
    assert_eq!(tries, kit.swarm.policy.failures_in_all);
}

#[test]
fn a_refused_file_is_a_strike_and_the_package_is_tried_elsewhere() {
    let mut kit = Kit::new(TWO);
    let (a, b) = (DroneId(1), DroneId(2));
    kit.run(&["x-1"], &[]);
    let got = kit.claim(a).unwrap();
    let reason = "its SLOT is 1 where 0 was asked for".to_owned();
    kit.must(Command::RejectPackage { drone: a, attempt: got.attempt, reason });
    assert_eq!((kit.state(1), kit.swarm.drones[&a].strikes), (PackageState::Needed, 1));
    assert!(kit.deliver(a, &got).is_err());
    kit.pass(10_000, &[a, b]);
    assert!(kit.claim(b).is_some());
}

#[test]
fn an_admins_retry_opens_the_run_again_and_forgives() {
    let mut kit = Kit::new(ALONE);
    let run = kit.run(&["bad-1"], &[]);
    for _ in 0..2 {
        kit.pass(10_000, &[DroneId(1)]);
        let got = kit.claim(DroneId(1)).unwrap();
        kit.fail(DroneId(1), &got, FailureClass::Package, "undeclared");
    }
    assert_eq!(kit.swarm.runs[&run].state, RunState::Partial);
    kit.must(Command::RetryPackage(PackageId(1)));
    assert_eq!(kit.swarm.runs[&run].state, RunState::Building);
    let got = kit.claim(DroneId(1)).unwrap();
    kit.deliver(DroneId(1), &got).unwrap();
    assert_eq!(kit.swarm.runs[&run].state, RunState::Succeeded);
    assert!(kit.send(Command::RetryPackage(PackageId(1))).is_err());
}

#[test]
fn a_plan_that_keeps_failing_fails_its_run() {
    let mut kit = Kit::new(ALONE);
    let profile = kit::name("desk");
    kit.must(Command::StartRun { profile, class: RunClass::Nightly });
    for _ in 0..kit.swarm.policy.plan_attempts {
        kit.pass(60_000, &[DroneId(1)]);
        let got = kit.claim(DroneId(1)).unwrap();
        kit.fail(DroneId(1), &got, FailureClass::Package, "no profile");
    }
    assert_eq!(kit.swarm.runs[&RunId(1)].state, RunState::Failed);
    assert!(kit.swarm.runs[&RunId(1)].reason.contains("no profile"));
}
