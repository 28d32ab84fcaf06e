//! The cause of a failure, and its consequences.

use crate::kit::{self, Kit, package_of, said};
use swarm_common::{
    id::*,
    state::*,
    wire::drone::{Assignment, Rejection},
};
use swarm_core::{Command, Reason, quarantine};

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
    assert!(said(&kit.swarm.packages[&PackageId(2)].reason).contains("same error on a and b"));
    assert_eq!((kit.strikes(a), kit.strikes(b)), (0, 0));
    // The rest is still built, and the run ends as partial.
    let good = kit.claim(a).unwrap();
    kit.deliver(a, &good).unwrap();
    assert_eq!(kit.swarm.runs[&run].state, RunState::Partial);
    assert_eq!(said(&kit.swarm.runs[&run].reason), "1 quarantined, 1 blocked");
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
    assert!(reply.reason.unwrap().contains("the next attempt at a needed package starts in"));
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
    assert_eq!(kit.strikes(DroneId(1)), 6);
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

fn rejected(drone: DroneId, got: &Assignment, reason: &str) -> Command {
    let rejection = Rejection { kind: "wrong-slot".into(), reason: reason.into() };
    Command::RejectPackage { drone, attempt: got.attempt, rejection }
}

#[test]
fn files_refused_for_the_same_reason_in_other_words_are_the_same_error() {
    let mut kit = Kit::new(TWO);
    kit.run(&["x-1"], &[]);
    for (drone, reason) in [(DroneId(1), "SLOT is 1"), (DroneId(2), "the slot `2` was not requested")] {
        assert_eq!(kit.state(1), PackageState::Needed);
        let got = kit.claim(drone).unwrap();
        kit.must(rejected(drone, &got, reason));
        kit.pass(10_000, &[DroneId(1), DroneId(2)]);
    }
    let package = &kit.swarm.packages[&PackageId(1)];
    assert_eq!(package.state, PackageState::Quarantined);
    assert!(matches!(package.reason, Some(Reason::SameError(_))), "{:?}", package.reason);
    assert_eq!(quarantine::of(&kit.swarm, PackageId(1)).unwrap().signature, "wrong-slot");
}

#[test]
fn a_refused_file_is_a_strike_and_the_package_is_tried_elsewhere() {
    let mut kit = Kit::new(TWO);
    let (a, b) = (DroneId(1), DroneId(2));
    kit.run(&["x-1"], &[]);
    let got = kit.claim(a).unwrap();
    kit.must(rejected(a, &got, "its SLOT is 1 where 0 was asked for"));
    assert_eq!((kit.state(1), kit.strikes(a)), (PackageState::Needed, 1));
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
    assert!(said(&kit.swarm.runs[&RunId(1)].reason).contains("no profile"));
}

#[test]
fn different_packages_failing_on_one_drone_strike_it() {
    let mut kit = Kit::new(TWO);
    let (a, b) = (DroneId(1), DroneId(2));
    kit.run(&["x-1", "y-1", "z-1"], &[]);
    kit.must(Command::DrainDrone(b));
    for (n, strikes) in [(1, 0), (2, 1), (3, 2)] {
        let got = kit.claim(a).unwrap();
        kit.fail(a, &got, FailureClass::Package, &format!("odd error {n}"));
        assert_eq!(kit.strikes(a), strikes, "the first may be the package's fault");
    }
    let last = kit.swarm.drones[&a].strikes.values().next_back().unwrap();
    assert!(matches!(last, Reason::DifferentPackages(_)), "{last:?}");
}

#[test]
fn a_package_that_is_built_elsewhere_speaks_against_the_drone_it_failed_on() {
    let mut kit = Kit::new(TWO);
    let (a, b) = (DroneId(1), DroneId(2));
    kit.run(&["x-1", "y-1"], &[]);
    let got = kit.claim(a).unwrap();
    kit.fail(a, &got, FailureClass::Package, "odd");
    assert_eq!(kit.strikes(a), 0);
    kit.pass(10_000, &[a, b]);
    let again = kit.claim(b).unwrap();
    assert_eq!(package_of(&again), package_of(&got));
    kit.deliver(b, &again).unwrap();
    assert_eq!((kit.strikes(a), kit.strikes(b)), (1, 0));
    // A success clears the strikes. The other drone, which would be just as fast, no longer asks.
    kit.pass(20_000, &[a, b]);
    let other = kit.claim(a).unwrap();
    kit.deliver(a, &other).unwrap();
    assert_eq!(kit.strikes(a), 0);
}

#[test]
fn a_strike_is_taken_back_when_the_package_fails_alike_elsewhere() {
    let mut kit = Kit::new(TWO);
    let (a, b) = (DroneId(1), DroneId(2));
    kit.run(&["x-1", "y-1"], &[]);
    kit.must(Command::DrainDrone(b));
    let x = kit.claim(a).unwrap();
    kit.fail(a, &x, FailureClass::Package, "one");
    let y = kit.claim(a).unwrap();
    kit.fail(a, &y, FailureClass::Package, "two");
    assert_eq!(kit.strikes(a), 1);
    kit.must(Command::ResumeDrone(b));
    kit.pass(10_000, &[a, b]);
    for _ in 0..2 {
        let got = kit.claim(b).unwrap();
        let signature = if package_of(&got) == package_of(&x) { "one" } else { "two" };
        kit.fail(b, &got, FailureClass::Package, signature);
    }
    assert_eq!((kit.state(1), kit.state(2)), (PackageState::Quarantined, PackageState::Quarantined));
    assert_eq!((kit.strikes(a), kit.strikes(b)), (0, 0));
}

#[test]
fn a_grounded_drone_comes_back_early_when_nobody_else_can_work() {
    let mut kit = Kit::new(TWO);
    let (a, b) = (DroneId(1), DroneId(2));
    kit.run(&["u-1", "v-1", "w-1", "x-1", "y-1", "z-1"], &[]);
    for _ in 0..5 {
        let got = kit.claim(a).unwrap();
        kit.fail(a, &got, FailureClass::Drone, "no space left");
    }
    assert_eq!(kit.drone_state(a), DroneState::Grounded);
    // b dies. Without a, nothing would be built for minutes.
    kit.pass(kit.swarm.policy.startup_grace_ms + 70_000, &[a]);
    assert_eq!(kit.drone_state(b), DroneState::Offline);
    kit.pass(10_000, &[a]);
    assert_eq!(kit.drone_state(a), DroneState::Online);
}

#[test]
fn a_package_killed_for_its_memory_gets_fewer_jobs_then_a_larger_drone() {
    let mut kit = Kit::new(&[]);
    let small = kit.enrol("small");
    let large = kit.enrol_with("large", 16, 32 << 30);
    kit.run(&["big-1"], &[]);
    kit.must(Command::DrainDrone(large));
    let kill = |kit: &mut Kit, drone| {
        kit.pass(10_000, &[small, large]);
        let got = kit.claim(drone).unwrap();
        let cause = Some(FailureCause::OutOfMemory);
        kit.fail_for(drone, &got, FailureClass::Drone, "out of memory", cause);
        got.limits.jobs
    };
    assert_eq!(kill(&mut kit, small), 0, "the drone's own setting");
    assert_eq!(kill(&mut kit, small), 1, "a quarter of its four cores");
    assert_eq!(kit.strikes(small), 0, "it is nobody's fault");
    kit.must(Command::ResumeDrone(large));
    kit.pass(10_000, &[small, large]);
    let reply = kit.claim_reply(small, "small again");
    assert!(reply.assignment.is_none(), "8 GiB were not enough for one job");
    let got = kit.claim(large).unwrap();
    assert_eq!(got.limits.jobs, 1, "two kills leave a sixteenth of 16 cores");
    let cause = Some(FailureCause::OutOfMemory);
    kit.fail_for(large, &got, FailureClass::Drone, "out of memory", cause);
    assert_eq!(kit.state(1), PackageState::Quarantined);
    let reason = said(&kit.swarm.packages[&PackageId(1)].reason);
    assert!(reason.contains("no drone has more than 32.0 GiB for a build"), "{reason}");
}

#[test]
fn a_drone_that_limits_a_builds_memory_counts_with_the_limit() {
    let mut kit = Kit::new(&[]);
    let limited = kit.enrol_with("limited", 1, 64 << 30);
    let small = kit.enrol_with("small", 1, 8 << 30);
    kit.swarm.drones.get_mut(&limited).unwrap().facts.build_memory_bytes = Some(4 << 30);
    kit.run(&["big-1"], &[]);
    kit.must(Command::DrainDrone(small));
    let got = kit.claim(limited).unwrap();
    let cause = Some(FailureCause::OutOfMemory);
    kit.fail_for(limited, &got, FailureClass::Drone, "out of memory", cause);
    kit.must(Command::ResumeDrone(small));
    kit.pass(10_000, &[limited, small]);
    assert!(kit.claim_reply(limited, "again").assignment.is_none(), "one job had 4 GiB, not 64");
    assert!(kit.claim(small).is_some(), "8 GiB are more");
}

#[test]
fn what_becomes_of_a_forgiven_attempt_does_not_change_how_many_failures_a_run_has() {
    for fails in [false, true] {
        let mut kit = Kit::new(&["a", "b"]);
        let run = kit.run(&["x-1", "y-1"], &[]);
        let (a, b) = (DroneId(1), DroneId(2));
        let (late, _) = (kit.claim(a).unwrap(), kit.claim(b).unwrap());
        kit.pass(200_000, &[]);
        assert_eq!(kit.swarm.runs[&run].failures, 2, "both are lost");
        kit.must(Command::RetryPackage(package_of(&late)));
        if fails {
            assert!(kit.heartbeat(a, &[late.attempt]).cancel.is_empty(), "it goes on");
            kit.fail(a, &late, FailureClass::Infra, "no route to host");
        } else {
            kit.deliver(a, &late).unwrap();
        }
        assert_eq!(kit.swarm.runs[&run].failures, 1, "the other one's");
    }
}

#[test]
fn a_run_that_fails_everywhere_ends_and_does_not_retry_for_ever() {
    let mut kit = Kit::new(ALONE);
    kit.swarm.policy.failures_per_run = 0;
    let run = kit.run(&["w-1", "x-1", "y-1", "z-1"], &[]);
    let mut tries = 0;
    while !kit.swarm.runs[&run].state.is_over() {
        kit.pass(900_000, &[DroneId(1)]);
        let got = kit.claim(DroneId(1)).unwrap();
        kit.fail(DroneId(1), &got, FailureClass::Infra, "mirror is down");
        tries += 1;
    }
    assert_eq!(tries, 8, "four, and one more for each that is then given up");
    let reason = said(&kit.swarm.packages[&PackageId(1)].reason);
    assert!(reason.contains("its run reached the limit of 4 failed attempts"), "{reason}");
}
