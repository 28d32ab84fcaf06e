//! The cost of assembling and applying a plan: one like a large desktop's, and hostile ones as large as
//! `check` allows.

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
        admin::{BuilderKind, ProfileRequest, Rebuild},
        drone::Usage,
        nix::{NixOutput, NixPackage, NixRoot},
        plan::{PlanEdge, PlanPackage, PlanProblem, PlanReport, ProblemKind},
    },
};
use swarm_core::{
    Command, Request,
    plan::{
        LONGEST_NAME, MOST_BYTES, MOST_EDGES, MOST_PACKAGES, MOST_PROBLEMS, MOST_SONAMES, MOST_TEXT, check,
        nodes,
    },
};
use swarm_tests::attack::plans::{clique, cycles, edge, plan, spread};

fn report(packages: u32, edges: impl IntoIterator<Item = PlanEdge>) -> PlanReport {
    plan(packages, edges.into_iter().take(MOST_EDGES))
}

/// Derivations with two outputs and the maximum number of inputs.
fn derivations() -> PlanReport {
    let most = MOST_PACKAGES as u32;
    let path = |n: u32, output: u32, name: &str| format!("/nix/store/{n:031}{output}-{name}");
    let derivation = |n: u32| {
        let name = format!("package-{n}-1.0");
        let output = |(at, output): (u32, &str)| NixOutput { name: output.into(), path: path(n, at, &name) };
        PlanPackage::Nix(NixPackage {
            drv: Some(path(n, 9, &format!("{name}.drv"))),
            outputs: [(0, "out"), (1, "dev")].map(output).to_vec(),
            name,
            system: "x86_64-linux".into(),
            fixed: false,
            features: vec!["kvm".into()],
            local: false,
            content_hash: None,
        })
    };
    let needs = MOST_EDGES as u32 / most;
    let edges =
        (1..most).flat_map(|n| (0..needs).map(move |k| edge(n, spread(k + 1, 7_919 * u64::from(n), n), "b")));
    let mut report = report(0, edges);
    report.packages = (0..most).map(derivation).collect();
    let root = |n: u32| NixRoot {
        attribute: format!("hosts.h{n}"),
        path: path(n, 0, &format!("package-{n}-1.0")),
        host: n.is_multiple_of(2),
    };
    report.roots = (0..MOST_PROBLEMS as u32).map(root).collect();
    report
}

fn shapes() -> Vec<(&'static str, PlanReport)> {
    // Six dependencies each, two thirds satisfied by the base, a few against the order.
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
    let hubs = |kind| (0..many).map(move |n| edge(25 + n / 25 % (most - 25), n % 25, kind));
    let around = (0..most).map(|n| edge(n, (n + 1) % most, "b"));
    let of_two = || (0..most).map(|n| edge(n, n ^ 1, "br"));
    let mut problems = report(1, []);
    let message = "x".repeat(MOST_TEXT / MOST_PROBLEMS - 100);
    let problem =
        PlanProblem { kind: ProblemKind::Other, atoms: vec!["a/b".into()], message, suggestion: None };
    problems.problems = vec![problem; MOST_PROBLEMS];
    let mut provided = report(most, of_two());
    let soname = |n: usize| format!("{n}{}", "s".repeat(LONGEST_NAME - 6));
    provided.base_provides.insert("x86_64".into(), (1..MOST_SONAMES).map(soname).collect());
    vec![
        ("10,000 packages that all need 25 to be built", report(most, hubs("b"))),
        ("10,000 packages that all need 25 at run time", report(most, hubs("r"))),
        (
            "5,000 cycles of two in eight stages",
            PlanReport { cycles: cycles(most, 2), ..report(most, of_two()) },
        ),
        (
            "one cycle of 10,000 in 40,000 stages",
            PlanReport { cycles: cycles(most, most), ..report(most, around) },
        ),
        ("10,000 refusals of two kilobytes", problems),
        ("a base that provides 100,000 sonames", provided),
        ("10,000 derivations with 250,000 inputs", derivations()),
        ("3,000 packages, 18,000 needs", desktop),
        ("5,000 tangles, 250,000 needs in them", report(most, twos().chain(inside))),
        ("5,000 tangles, 250,000 satisfied needs across them", report(most, twos().chain(across("brs")))),
        ("10,000 packages, 250,000 needs across them", report(most, across("b"))),
        ("10,000 packages, 250,000 run-time needs across them", report(most, across("r"))),
        ("a ladder of 10,000, ten needs each", report(most, ladder)),
        ("500 that all need each other to be built", clique(many, "b")),
        ("500 that all need each other, as the base has them", clique(many, "brs")),
        ("500 that all need each other at run time", clique(many, "r")),
        ("10,000 packages with long names", long),
    ]
}

const OAK: DroneId = DroneId(1);

/// A swarm that waits for three plans: for two Portage profiles and one Nix profile.
fn waiting() -> (Kit, [Command; 3]) {
    let mut kit = Kit::new(&["oak"]);
    kit.swarm.drones.get_mut(&OAK).unwrap().facts.slots = 3;
    kit.put_profile("lab", Rebuild::Gentoo);
    let snapshot = Digest::of(b"flake");
    let request = ProfileRequest {
        builder: BuilderKind::Nix,
        snapshot,
        source: "".into(),
        base: None,
        publish: Default::default(),
        cpu: Default::default(),
        rebuild: Rebuild::Gentoo,
    };
    kit.must(Command::PutProfile { name: kit::name("hosts"), request });
    let plans = ["desk", "lab", "hosts"].map(|profile| {
        kit.must(Command::StartRun { profile: kit::name(profile), class: RunClass::Nightly });
        let attempt = kit.claim(OAK).unwrap().attempt;
        Command::ReceivePlan { drone: OAK, attempt, plan: report(0, []).into(), usage: Usage::default() }
    });
    (kit, plans)
}

/// The same command with another plan.
fn with(command: &Command, report: &PlanReport) -> Command {
    let mut command = command.clone();
    if let Command::ReceivePlan { plan, .. } = &mut command {
        *plan = report.clone().into();
    }
    command
}

fn assemble(criterion: &mut Criterion) {
    let (kit, [desk, lab, hosts]) = waiting();
    for (name, report) in shapes() {
        check(&report).unwrap();
        criterion.bench_function(&format!("assembled: {name}"), |bencher| {
            bencher.iter(|| nodes(black_box(&report)));
        });
        let setup = || {
            let is_nix = matches!(report.packages[..], [PlanPackage::Nix(_), ..]);
            let command = with(if is_nix { &hosts } else { &desk }, &report);
            (kit.swarm.clone(), Request { now: kit.now, entropy: 1, key: None, command })
        };
        criterion.bench_function(&format!("decided and applied: {name}"), |bencher| {
            bencher.iter_batched_ref(
                setup,
                |(swarm, request)| swarm.handle(request).unwrap(),
                BatchSize::PerIteration,
            );
        });
    }
    // A second plan as large as the first, of packages with the same keys and with others.
    let most = MOST_PACKAGES as u32;
    let needs =
        || (0..MOST_EDGES as u32).map(|n| edge(spread(n, 7_919, most), spread(n, 104_729, most), "br"));
    let first = report(most, needs());
    let mut other = first.clone();
    for package in other.packages.iter_mut().filter_map(|package| package.portage_mut()) {
        package.inputs = Digest::of(package.cpv.as_str().as_bytes());
    }
    let mut full = kit;
    full.must(with(&desk, &first));
    for (name, report) in [("the same", &first), ("another", &other)] {
        let command = with(&lab, report);
        let request = Request { now: full.now, entropy: 1, key: None, command };
        criterion.bench_function(&format!("decided and applied beside one as large: {name}"), |bencher| {
            bencher.iter_batched_ref(
                || full.swarm.clone(),
                |swarm| swarm.handle(&request).unwrap(),
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
