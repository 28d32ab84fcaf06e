//! What assembling a plan costs: one like a large desktop's, and the worst that `check` lets pass
//! so far seen, 25,000 cycles of two and 550,000 needs that the base satisfies.

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use swarm_common::{
    digest::Digest,
    wire::plan::{PlanEdge, PlanPackage, PlanReport},
};
use swarm_core::plan::{check, nodes};

fn package(n: u32) -> PlanPackage {
    PlanPackage {
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

fn edge(from: u32, to: u32, satisfied: bool) -> PlanEdge {
    PlanEdge { from, to, build: true, runtime: satisfied, slot_operator: false, satisfied }
}

fn report(packages: u32, edges: Vec<PlanEdge>) -> PlanReport {
    let packages = (0..packages).map(package).collect();
    PlanReport {
        packages,
        edges,
        cycles: vec![],
        problems: vec![],
        toolchain: Digest::of(b"gcc"),
        settings: Default::default(),
        built_with: None,
        base_provides: Default::default(),
    }
}

fn assemble(criterion: &mut Criterion) {
    // Six needs each, two of three satisfied by the base, a few against the order.
    let desktop = (0..3_000_u32).flat_map(|n| (1..=6).map(move |k| edge(n, n * k * 31 % 3_000, k % 3 > 0)));
    let desktop = report(3_000, desktop.filter(|e| e.satisfied || e.from > e.to).collect());
    let pairs = 25_000_u32;
    let twos = (0..pairs).flat_map(|n| [edge(2 * n, 2 * n + 1, false), edge(2 * n + 1, 2 * n, true)]);
    let apart = twos.clone().chain((0..500_000).map(|n| {
        let pair = 2 * (n * 7_919 % pairs);
        edge(pair + n % 2, pair + 1 - n % 2, true)
    }));
    let apart = report(2 * pairs, apart.filter(|e| e.satisfied || e.from % 2 == 0).collect());
    let across =
        twos.chain((0..500_000).map(|n| edge(n * 7_919 % (2 * pairs), n * 104_729 % (2 * pairs), true)));
    let across = report(2 * pairs, across.collect());
    for (name, report) in [
        ("3,000 packages, 18,000 needs", desktop),
        ("25,000 tangles, 550,000 needs in them", apart),
        ("25,000 tangles, 550,000 needs across them", across),
    ] {
        check(&report).unwrap();
        criterion
            .bench_function(&format!("a plan: {name}"), |bencher| bencher.iter(|| nodes(black_box(&report))));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = assemble
}
criterion_main!(benches);
