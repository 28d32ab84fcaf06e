//! A power failure: three of five machines disappear at once while twelve packages are being built. Without
//! manual intervention, nothing is lost, built forever or accepted twice.

use crate::kit::{Kit, package_of};
use swarm_common::{id::*, state::*, wire::drone::Assignment};

/// Five machines, each with four drones (one drone builds one package at a time).
const DARK: std::ops::Range<u64> = 1..13;
const ALIGHT: std::ops::Range<u64> = 13..21;

fn drones(range: std::ops::Range<u64>) -> Vec<DroneId> {
    range.map(DroneId).collect()
}

// fault: 22
#[test]
fn three_of_five_machines_vanish_and_return_and_nobody_lifts_a_hand() {
    let names: Vec<String> = (0..20).map(|n| format!("m{}-{}", n / 4 + 1, n % 4)).collect();
    let mut kit = Kit::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let packages: Vec<String> = (1..=60).map(|n| format!("p{n}-1")).collect();
    let run = kit.run(&packages.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    let (dark, alight) = (drones(DARK), drones(ALIGHT));
    let all: Vec<DroneId> = dark.iter().chain(&alight).copied().collect();
    kit.pass(kit.swarm.policy.startup_grace_ms, &all);
    let lost: Vec<Assignment> = dark.iter().map(|&d| kit.claim(d).unwrap()).collect();
    let kept: Vec<(DroneId, Assignment)> = alight.iter().map(|&d| (d, kit.claim(d).unwrap())).collect();
    assert_eq!(lost.len(), 12);

    // The power fails. The remaining drones finish their work.
    let cut_at = kit.now;
    for (drone, got) in &kept {
        kit.deliver(*drone, got).unwrap();
    }
    kit.pass(70_000, &alight);
    assert!(dark.iter().all(|&d| kit.drone_state(d) == DroneState::Offline));
    let delegated_again = |kit: &Kit| {
        let is = |got: &Assignment| {
            let package = &kit.swarm.packages[&package_of(got)];
            package.state == PackageState::Received || package.attempts.len() > 1
        };
        lost.iter().filter(|got| is(got)).count()
    };
    while delegated_again(&kit) < 12 {
        assert!(kit.now.since(cut_at) < 120_000, "{} of 12 are elsewhere", delegated_again(&kit));
        for &drone in &alight {
            if let Some(got) = kit.claim(drone) {
                kit.deliver(drone, &got).unwrap();
            }
        }
        kit.pass(5_000, &alight);
    }

    // The power is back: the machines start and rejoin the swarm.
    for (&drone, old) in dark.iter().zip(&lost) {
        let reply = kit.heartbeat(drone, &[old.attempt]);
        assert_eq!(reply.cancel.len(), 1, "what it had is done by others");
        assert_eq!(kit.drone_state(drone), DroneState::Online);
        assert_eq!(kit.strikes(drone), 0, "a power cut is nobody's fault");
    }
    let mut back = 0;
    for _ in 0..60 {
        for &drone in &all {
            if let Some(got) = kit.claim(drone) {
                back += usize::from(dark.contains(&drone));
                kit.deliver(drone, &got).unwrap();
            }
        }
    }
    assert!(back > 0, "the machines that returned get work again");
    assert_eq!(kit.swarm.runs[&run].state, RunState::Succeeded);
}
