//! Drones with another toolchain than the one that a run was planned with.

#![allow(clippy::unwrap_used)] // Tests may use this.

use crate::kit::{Kit, said};
use swarm_common::{id::*, state::*, wire::plan::Toolchain};
use swarm_core::{Command, view};

const A: DroneId = DroneId(1);
const B: DroneId = DroneId(2);

fn has(kit: &mut Kit, drone: DroneId, compiler: &str) {
    let libc = "glibc 2.41".to_owned();
    let toolchain = Toolchain { compiler: compiler.into(), libc, ..Toolchain::default() };
    kit.swarm.drones.get_mut(&drone).unwrap().facts.toolchain = Some(Box::new(toolchain));
}

/// Two drones, of which `a` has planned a run of two packages.
fn planned() -> (Kit, RunId) {
    let mut kit = Kit::new(&["a", "b"]);
    has(&mut kit, A, "gcc 15.2.0");
    has(&mut kit, B, "gcc 14.3.0");
    let run = kit.run(&["x-1", "y-1"], &[]);
    (kit, run)
}

#[test]
fn a_drone_with_another_compiler_gets_nothing_of_a_run_and_status_names_it() {
    let (mut kit, _) = planned();
    let concerns = view::concerns(&kit.swarm, kit.now, kit.now, &[]);
    let concerns: Vec<String> = concerns.into_iter().map(|concern| concern.what).collect();
    let expected = "drone b is assigned no packages of r1 of desk: its compiler is gcc 14.3.0, but the run \
        was planned with gcc 15.2.0";
    assert!(concerns.iter().any(|what| what == expected), "{concerns:?}");
    assert_eq!(kit.claim(B), None);
    assert!(kit.claim(A).is_some());
}

#[test]
fn a_drone_whose_toolchain_is_unknown_is_not_kept_out() {
    let (mut kit, _) = planned();
    kit.swarm.drones.get_mut(&B).unwrap().facts.toolchain = None;
    assert!(kit.claim(B).is_some());
}

#[test]
fn a_run_whose_toolchain_no_drone_has_any_more_ends_once_its_packages_are_published() {
    let (mut kit, run) = planned();
    kit.must(Command::RemoveDrone(B));
    let got = kit.claim(A).unwrap();
    kit.deliver(A, &got).unwrap();
    has(&mut kit, A, "gcc 15.3.0");
    assert_eq!(kit.claim(A), None);
    kit.must(Command::Maintain);
    kit.must(Command::Maintain);
    let ended = &kit.swarm.runs[&run];
    assert_eq!((ended.state, ended.to_publish()), (RunState::Cancelled, Some(1)), "{}", said(&ended.reason));
    assert!(
        said(&ended.reason).starts_with("no drone has its toolchain any more: the compiler was gcc 15.2.0"),
        "{}",
        said(&ended.reason)
    );
}
