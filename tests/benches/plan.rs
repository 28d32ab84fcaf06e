//! What assembling and applying a plan costs: one like a large desktop's, and hostile ones as
//! large as `check` lets pass.

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

#[path = "../../orchestrator/core/tests/rules/kit/mod.rs"]
mod kit;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use kit::Kit;
use std::hint::black_box;
use swarm_common::{
    digest::Digest,
    id::DroneId,
    state::RunClass,
    wire::{
        drone::Usage,
        plan::{PlanEdge, PlanReport, PortagePackage},
    },
};
use swarm_core::{
    Command, Request,
    plan::{LONGEST_NAME, MOST_BYTES, MOST_EDGES, MOST_PACKAGES, check, nodes},
};

fn package(n: u32) -> PortagePackage {
    PortagePackage {
        cpv: format!("app/p{n}-1").parse().unwrap(),
        slot: "0".into(),
        subslot: "0".into(),
        repository: "r".into(),
        use_flags: vec![],
        iuse: vec![],
        chost: "x86_64-pc-linux-gnu".into(),
        inputs: Digest::of(&n.to_le_bytes()),
        fields: Default::default(),
        strict: Default::default(),
        live: None,
        in_base: false,
    }
}

/// A need; `kind` has a letter for each that it is: build, run time, satisfied by the base.
fn edge(from: u32, to: u32, kind: &str) -> PlanEdge {
    let is = |letter| kind.contains(letter);
    PlanEdge { from, to, build: is('b'), runtime: is('r'), slot_operator: false, satisfied: is('s') }
}

fn report(packages: u32, edges: impl IntoIterator<Item = PlanEdge>) -> PlanReport {
    PlanReport {
        packages: (0..packages).map(package).map(Into::into).collect(),
        edges: edges.into_iter().take(MOST_EDGES).collect(),
        cycles: vec![],
        problems: vec![],
        toolchain: Digest::of(b"gcc"),
        settings: Default::default(),
        built_with: None,
        base_provides: Default::default(),
        roots: Vec::new(),
    }
}

/// Numbers below a bound that seem to come by chance.
fn spread(n: u32, by: u64, below: u32) -> u32 {
    (u64::from(n) * by % u64::from(below)) as u32
}

/// Everybody needs everybody.
fn clique(kind: &'static str) -> PlanReport {
    let members = 1 + (MOST_EDGES as f64).sqrt() as u32;
    let all = move |from| (0..members).filter(move |to| *to != from).map(move |to| edge(from, to, kind));
    report(members, (0..members).flat_map(all))
}

fn shapes() -> Vec<(&'static str, PlanReport)> {
    // Six needs each, two of three satisfied by the base, a few against the order.
    let desktop = (0..3_000_u32)
        .flat_map(|n| (1..=6).map(move |k| edge(n, n * k * 31 % 3_000, if k % 3 > 0 { "brs" } else { "b" })));
    let desktop = report(3_000, desktop.filter(|e| e.satisfied || e.from > e.to));
    let most = MOST_PACKAGES as u32;
    let pairs = most / 2;
    let twos = || (0..pairs).flat_map(|n| [edge(2 * n, 2 * n + 1, "b"), edge(2 * n + 1, 2 * n, "brs")]);
    let many = MOST_EDGES as u32;
    let inside = (0..many).map(|n| {
        let pair = 2 * spread(n, 7_919, pairs);
        edge(pair + n % 2, pair + 1 - n % 2, "brs")
    });
    let across = |kind| (0..many).map(move |n| edge(spread(n, 7_919, most), spread(n, 104_729, most), kind));
    let ladder = (1..most).flat_map(|n| (1..=10.min(n)).map(move |k| edge(n, n - k, "br")));
    let mut long = report(most, (1..most).map(|n| edge(n, n - 1, "br")));
    let flags = MOST_BYTES / MOST_PACKAGES / (LONGEST_NAME + 24) - 1;
    for package in long.packages.iter_mut().filter_map(|package| package.portage_mut()) {
        package.iuse = (0..flags).map(|n| format!("{n}{}", "x".repeat(LONGEST_NAME - 1))).collect();
    }
    vec![
        ("3,000 packages, 18,000 needs", desktop),
        ("5,000 tangles, 250,000 needs in them", report(most, twos().chain(inside))),
        ("5,000 tangles, 250,000 satisfied needs across them", report(most, twos().chain(across("brs")))),
        ("10,000 packages, 250,000 needs across them", report(most, across("b"))),
        ("10,000 packages, 250,000 run-time needs across them", report(most, across("r"))),
        ("a ladder of 10,000, ten needs each", report(most, ladder)),
        ("501 that all need each other to be built", clique("b")),
        ("501 that all need each other, as the base has them", clique("brs")),
        ("501 that all need each other at run time", clique("r")),
        ("10,000 packages with long names", long),
    ]
}

/// A swarm that waits for a plan.
fn waiting() -> (Kit, Command) {
    let mut kit = Kit::new(&["oak"]);
    let profile = kit::name("desk");
    kit.must(Command::StartRun { profile, class: RunClass::Nightly });
    let attempt = kit.claim(DroneId(1)).unwrap().attempt;
    let plan = report(0, []).into();
    (kit, Command::ReceivePlan { drone: DroneId(1), attempt, plan, usage: Usage::default() })
}

fn assemble(criterion: &mut Criterion) {
    let (kit, empty) = waiting();
    for (name, report) in shapes() {
        check(&report).unwrap();
        criterion.bench_function(&format!("assembled: {name}"), |bencher| {
            bencher.iter(|| nodes(black_box(&report)));
        });
        let setup = || {
            let mut command = empty.clone();
            if let Command::ReceivePlan { plan, .. } = &mut command {
                *plan = report.clone().into();
            }
            (kit.swarm.clone(), Request { now: kit.now, entropy: 1, key: None, command })
        };
        criterion.bench_function(&format!("decided and applied: {name}"), |bencher| {
            bencher.iter_batched_ref(
                setup,
                |(swarm, request)| swarm.handle(request),
                BatchSize::PerIteration,
            );
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = assemble
}
criterion_main!(benches);
