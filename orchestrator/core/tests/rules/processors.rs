//! Drones whose processor cannot run what a profile compiles.

#![allow(clippy::unwrap_used)] // Tests may use this.

use crate::kit::{Kit, name};
use swarm_common::{
    id::*,
    state::RunClass,
    wire::cpu::{Cpu, CpuNeeds},
};
use swarm_core::{Command, view};

const A: DroneId = DroneId(1);
const B: DroneId = DroneId(2);

fn has(kit: &mut Kit, drone: DroneId, level: u8, flags: &[&str]) {
    let flags = flags.iter().map(ToString::to_string).collect();
    let cpu = Cpu { vendor: String::new(), family: 6, model: 1, x86_64_level: Some(level), flags };
    kit.swarm.drones.get_mut(&drone).unwrap().facts.cpu = Some(cpu);
}

/// A profile compiled for x86-64-v3 with AES; `a` supports both.
fn compiled() -> Kit {
    let mut kit = Kit::new(&["a", "b"]);
    has(&mut kit, A, 3, &["aes", "avx2"]);
    needs(&mut kit, Some(3));
    kit
}

fn needs(kit: &mut Kit, level: Option<u8>) {
    let mut request = kit.swarm.profiles[&name("desk")].request.clone();
    request.cpu = CpuNeeds { x86_64_level: level, flags: vec!["aes".into()] };
    kit.must(Command::PutProfile { name: name("desk"), request });
}

fn concerns(kit: &Kit) -> Vec<String> {
    let concerns = view::concerns(&kit.swarm, kit.now, kit.now, &[]);
    concerns.into_iter().map(|concern| concern.what).collect()
}

#[test]
fn a_drone_that_lacks_the_level_or_a_flag_gets_nothing_and_status_names_what_is_lacking() {
    for (level, flags, lacking) in
        [(2, &["aes"][..], "x86-64-v3"), (3, &["avx2"], "aes"), (2, &[], "x86-64-v3, aes")]
    {
        let mut kit = compiled();
        has(&mut kit, B, level, flags);
        kit.run(&["x-1", "y-1"], &[]);
        let expected =
            format!("drone b is assigned no packages of r1 of desk: its processor lacks {lacking}");
        assert!(concerns(&kit).contains(&expected), "{:?}", concerns(&kit));
        assert_eq!(kit.claim(B), None);
        assert!(kit.claim(A).is_some());
    }
}

#[test]
fn nor_does_it_make_the_plan_as_the_base_may_be_compiled_alike() {
    let mut kit = compiled();
    has(&mut kit, B, 2, &["aes"]);
    kit.must(Command::StartRun { profile: name("desk"), class: RunClass::Nightly });
    assert_eq!(kit.claim(B), None);
    assert!(kit.claim(A).is_some());
}

#[test]
fn a_drone_with_a_better_or_an_unknown_processor_builds() {
    let mut kit = compiled();
    has(&mut kit, B, 4, &["aes", "avx512f"]);
    kit.run(&["x-1", "y-1"], &[]);
    assert!(kit.claim(B).is_some());
    let mut kit = compiled();
    kit.run(&["x-1", "y-1"], &[]);
    assert!(kit.claim(B).is_some());
    assert!(!concerns(&kit).iter().any(|what| what.contains("processor")), "{:?}", concerns(&kit));
}

#[test]
fn why_names_what_is_lacking_while_no_other_drone_is_there() {
    let mut kit = compiled();
    has(&mut kit, B, 2, &["aes"]);
    let run = kit.run(&["x-1"], &[]);
    kit.must(Command::RemoveDrone(A));
    let package = kit.swarm.runs[&run].packages[0];
    let why = view::why(&kit.swarm, kit.now, package).unwrap();
    assert!(
        why.lines.iter().any(|line| line.contains("the processor of b lacks x86-64-v3")),
        "{:?}",
        why.lines
    );
}

#[test]
fn a_run_under_way_keeps_the_needs_that_it_started_with() {
    let mut kit = compiled();
    has(&mut kit, B, 2, &["aes"]);
    kit.run(&["x-1", "y-1"], &[]);
    needs(&mut kit, None);
    assert_eq!(kit.claim(B), None);
}
