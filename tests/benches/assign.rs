//! The cost of deciding a claim in a run of 5,000 packages on 64 drones.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

#[path = "../../orchestrator/core/tests/rules/kit/mod.rs"]
mod kit;

use criterion::{Criterion, criterion_group, criterion_main};
use kit::Kit;
use std::hint::black_box;
use swarm_common::{id::DroneId, wire::drone::ClaimRequest};
use swarm_core::{Command, Request, decide::decide};

const PACKAGES: u32 = 5_000;
const DRONES: u64 = 64;

/// A run whose packages were all built before, with all drones but the last one working.
fn busy() -> Kit {
    let names: Vec<String> = (1..=DRONES).map(|n| format!("d{n}")).collect();
    let mut kit = Kit::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for (n, drone) in kit.swarm.drones.values_mut().enumerate() {
        drone.speed_permille = [4_000, 2_000, 1_000, 500][n % 4];
    }
    let packages: Vec<String> = (0..PACKAGES).map(|n| format!("p{n}-1")).collect();
    for n in 0..PACKAGES {
        let work_ms = 1_000 + u64::from(n) * 7_919 % 600_000;
        kit.swarm.history.note(&format!("app/p{n}"), "1", work_ms, (0, 1));
    }
    // Each package needs eight earlier ones; the first hundred need nothing.
    let needs = |n: u32| (1..=8).map(move |k| (n, n * k * 31 % (n - 50)));
    let edges: Vec<(u32, u32)> = (100..PACKAGES).flat_map(needs).collect();
    kit.run(&packages.iter().map(String::as_str).collect::<Vec<_>>(), &edges);
    for n in 1..DRONES {
        kit.claim(DroneId(n));
    }
    kit.now = kit.now + 5_000;
    kit
}

fn assign(criterion: &mut Criterion) {
    let kit = busy();
    let request = |drone| Request {
        now: kit.now,
        entropy: 1,
        key: None,
        command: Command::Claim {
            drone: DroneId(drone),
            request: ClaimRequest { key: "k".into(), wait_ms: 60_000, memory_free_bytes: 0 },
        },
    };
    let claim = request(DRONES);
    criterion.bench_function("one claim, 5,000 packages x 64 drones", |bencher| {
        bencher.iter(|| decide(black_box(&kit.swarm), black_box(&claim)));
    });
}

criterion_group!(benches, assign);
criterion_main!(benches);
