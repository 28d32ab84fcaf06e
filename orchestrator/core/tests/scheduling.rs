//! Who gets which package, and what a drone without work is told.

#![allow(clippy::unwrap_used)] // A test may unwrap.

mod kit;

use kit::{Kit, package_of};
use swarm_common::{id::*, state::*};
use swarm_core::{Command, Swarm};

fn set_speed(swarm: &mut Swarm, drone: DroneId, permille: u64) {
    swarm.drones.get_mut(&drone).unwrap().speed_permille = permille;
}

#[test]
fn a_slow_drone_is_not_given_what_a_fast_one_will_finish_sooner() {
    let mut kit = Kit::new(&["slow", "fast"]);
    let (slow, fast) = (DroneId(1), DroneId(2));
    kit.run(&["long-1"], &[]);
    set_speed(&mut kit.swarm, slow, 500);
    set_speed(&mut kit.swarm, fast, 4000);
    // While the fast one is not there, the slow one gets it; once it waits, it does not.
    assert!(kit.claim_reply(fast, "f").assignment.is_some());
    let reply = kit.claim_reply(slow, "s");
    assert_eq!(reply.reason.unwrap(), "everything left waits for packages that are being built");
}

#[test]
fn a_claim_is_held_back_for_a_busy_drone_only_while_that_pays() {
    let mut kit = Kit::new(&["slow", "fast"]);
    let (slow, fast) = (DroneId(1), DroneId(2));
    kit.run(&["one-1", "two-1"], &[]);
    set_speed(&mut kit.swarm, slow, 200);
    set_speed(&mut kit.swarm, fast, 4000);
    kit.claim(fast).unwrap();
    let reply = kit.claim_reply(slow, "s");
    assert_eq!(reply.reason.unwrap(), "held back: app/two-1 will be finished sooner by fast");
    // The fast drone hangs: before long the slow one is the sooner.
    kit.pass(900_000, &[slow, fast]);
    assert!(kit.claim_reply(slow, "s2").assignment.is_some());
}

#[test]
fn work_is_never_held_for_a_drone_that_does_not_ask() {
    let mut kit = Kit::new(&["slow", "fast"]);
    kit.run(&["one-1"], &[]);
    set_speed(&mut kit.swarm, DroneId(1), 100);
    assert!(kit.claim(DroneId(1)).is_some());
}

#[test]
fn the_longest_chain_goes_first_and_urgent_runs_before_nightly_ones() {
    let mut kit = Kit::new(&["a"]);
    kit.run(&["short-1", "end-1", "base-1"], &[(1, 2)]);
    assert_eq!(package_of(&kit.claim(DroneId(1)).unwrap()), PackageId(3));
}

#[test]
fn a_drone_without_work_is_told_why() {
    let mut kit = Kit::new(&["a", "b"]);
    assert_eq!(kit.claim_reply(DroneId(1), "1").reason.unwrap(), "no run is under way");
    kit.run(&["top-1", "base-1"], &[(0, 1)]);
    kit.claim(DroneId(1)).unwrap();
    let reason = kit.claim_reply(DroneId(2), "2").reason.unwrap();
    assert_eq!(reason, "everything left waits for packages that are being built");
    kit.must(Command::DrainDrone(DroneId(2)));
    let reason = kit.claim_reply(DroneId(2), "3").reason.unwrap();
    assert_eq!(reason, "draining: drained by an admin");
    assert_eq!(kit.drone_state(DroneId(2)), DroneState::Draining);
}
