//! A package that several runs have, with the same build key, while one of them is building it.

#![allow(clippy::unwrap_used)] // Tests may use this.

use crate::kit::{self, Kit, name, package_of};
use swarm_common::{id::*, state::*, wire::admin::Rebuild};
use swarm_core::{Command, Swarm, explain};

const A: DroneId = DroneId(1);
const B: DroneId = DroneId(2);

/// A run of `desk` and one of `attic` with the same packages.
fn both(drones: &[&str], packages: &[&str]) -> Kit {
    let mut kit = Kit::new(drones);
    kit.put_profile("attic", Rebuild::Gentoo);
    // Each takes ten minutes at speed 1.
    for package in packages {
        let (name, version) = package.rsplit_once('-').unwrap();
        kit.swarm.history.note(&format!("app/{name}"), version, 600_000, (0, 0));
    }
    kit.run(packages, &[]);
    kit.plan_for("attic", kit::report(packages, &[]));
    kit
}

fn set_speed(swarm: &mut Swarm, drone: DroneId, permille: u64) {
    swarm.drones.get_mut(&drone).unwrap().speed_permille = permille;
}

#[test]
fn what_is_being_built_for_another_run_is_not_built_again_but_reused() {
    let mut kit = both(&["a", "b"], &["lib-1"]);
    let first = kit.claim(A).unwrap();
    assert_eq!(package_of(&first), PackageId(1));
    let reason = kit.claim_reply(B, "b").reason.unwrap();
    assert_eq!(reason, "app/lib-1 is being built for another run and will be reused");
    let why = explain::reason(&kit.swarm, kit.now, PackageId(2));
    assert_eq!(why, "the same package is being built for desk (p1)");
    kit.deliver(A, &first).unwrap();
    assert_eq!(kit.state(2), PackageState::Received);
    assert!(kit.swarm.packages[&PackageId(2)].reused && kit.swarm.attempts.len() == 3);
    assert!(kit.swarm.runs.values().all(|run| run.state == RunState::Succeeded));
}

#[test]
fn a_drone_that_would_take_less_than_half_as_long_builds_it_again() {
    let mut kit = both(&["slow", "fast"], &["lib-1"]);
    set_speed(&mut kit.swarm, A, 250);
    kit.claim(A).unwrap();
    set_speed(&mut kit.swarm, B, 400);
    assert_eq!(kit.claim(B), None);
    set_speed(&mut kit.swarm, B, 600);
    let second = kit.claim(B).unwrap();
    assert_eq!(package_of(&second), PackageId(2));
    assert_eq!(kit.swarm.attempts[&second.attempt].duplicate_of, None);
}

#[test]
fn what_a_more_urgent_run_leaves_to_a_faster_drone_is_not_built_for_another_run() {
    let mut kit = both(&["slow", "fast"], &["lib-1"]);
    set_speed(&mut kit.swarm, A, 700);
    kit.swarm.live.waiting.insert(B, kit.now + 60_000);
    assert_eq!(kit.claim(A), None, "not even for the other run");
    assert_eq!(package_of(&kit.claim(B).unwrap()), PackageId(1));
}

#[test]
fn a_late_build_is_repeated_in_its_own_run_and_not_in_the_other_one() {
    let mut kit = both(&["a", "b"], &["lib-1"]);
    let first = kit.claim(A).unwrap();
    let mut second = None;
    while second.is_none() {
        kit.pass(60_000, &[A, B]);
        second = kit.claim(B);
    }
    let second = second.unwrap();
    assert_eq!(package_of(&second), PackageId(1));
    assert_eq!(kit.swarm.attempts[&second.attempt].duplicate_of, Some(first.attempt));
}

#[test]
fn when_that_build_ends_without_a_result_the_other_run_builds_it() {
    let mut kit = both(&["a", "b"], &["lib-1"]);
    kit.claim(A).unwrap();
    assert_eq!(kit.claim(B), None);
    kit.must(Command::CancelRun(RunId(1)));
    assert_eq!(package_of(&kit.claim(B).unwrap()), PackageId(2));
}

#[test]
fn a_package_that_only_one_run_has_does_not_wait() {
    let mut kit = both(&["a", "b"], &["lib-1"]);
    kit.put_profile("lab", Rebuild::Gentoo);
    kit.claim(A).unwrap();
    let start = Command::StartRun { profile: name("lab"), class: RunClass::Nightly };
    kit.must(start);
    let attempt = kit.claim(B).unwrap().attempt;
    let plan = kit::report(&["other-1"], &[]).into();
    kit.must(Command::ReceivePlan { drone: B, attempt, plan, usage: Default::default() });
    assert_eq!(package_of(&kit.claim(B).unwrap()), PackageId(3));
}
