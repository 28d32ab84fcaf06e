//! Plans that no resolver makes: as large as allowed in shapes that are hard to order, larger than allowed,
//! and with invalid content.

use super::tally::Due;
use crate::api::{pebble, plan_of};
use swarm_common::{
    digest::Digest,
    wire::plan::{PlanCycle, PlanEdge, PlanProblem, PlanReport, PlanStage, PortagePackage, ProblemKind},
};
use swarm_core::plan::{LONGEST_NAME, MOST_EDGES, MOST_PACKAGES, MOST_PROBLEMS, MOST_SONAMES, MOST_TEXT};
use swarm_orchestrator::config::Limits;

/// Description, expected verdict, and a function that makes the plan.
pub type Shape = (&'static str, Due, Box<dyn Fn() -> PlanReport + Send>);

fn package(n: u32) -> PortagePackage {
    PortagePackage {
        cpv: format!("app-misc/p{n}-1").parse().unwrap(),
        use_flags: vec![],
        iuse: vec![],
        inputs: Digest::of(&n.to_le_bytes()),
        ..pebble()
    }
}

/// An edge. `kind` contains a letter for each property: build, run time, satisfied by the base.
#[must_use]
pub fn edge(from: u32, to: u32, kind: &str) -> PlanEdge {
    let is = |letter| kind.contains(letter);
    PlanEdge { from, to, build: is('b'), runtime: is('r'), slot_operator: false, satisfied: is('s') }
}

/// A plan with this many packages and these edges.
pub fn plan(packages: u32, edges: impl Iterator<Item = PlanEdge>) -> PlanReport {
    let mut plan = plan_of(&[]);
    plan.packages = (0..packages).map(package).map(Into::into).collect();
    plan.edges = edges.collect();
    plan
}

/// A plan of two packages with one change.
fn odd(change: impl Fn(&mut PlanReport) + Send + 'static) -> Box<dyn Fn() -> PlanReport + Send> {
    Box::new(move || {
        let mut odd = plan(2, [edge(1, 0, "br")].into_iter());
        change(&mut odd);
        odd
    })
}

/// Removes edges until the plan fits into the largest allowed report.
fn fitting(mut plan: PlanReport) -> PlanReport {
    let edges = serde_json::to_vec(&plan.edges).unwrap().len();
    let rest = serde_json::to_vec(&plan.packages).unwrap().len() + 1000;
    let room = (Limits::default().plan_size.bytes() as usize).saturating_sub(rest);
    if edges > room {
        plan.edges.truncate(plan.edges.len() * (room / 100) / (edges / 99));
    }
    plan
}

/// Deterministic numbers below `below` that look random.
#[must_use]
pub fn spread(n: u32, by: u64, below: u32) -> u32 {
    (u64::from(n) * by % u64::from(below)) as u32
}

/// Packages that all need each other, with as many edges as `needs` allows.
#[must_use]
pub fn clique(needs: u32, kind: &'static str) -> PlanReport {
    let members = f64::from(needs).sqrt() as u32;
    let all = move |from| (0..members).filter(move |to| *to != from).map(move |to| edge(from, to, kind));
    plan(members, (0..members).flat_map(all))
}

/// Cycles of `members` packages each, in which every package is built four times.
#[must_use]
pub fn cycles(packages: u32, members: u32) -> Vec<PlanCycle> {
    let stage = |package| PlanStage { package, use_changes: vec!["-x".into()] };
    let cycle = |first: u32| PlanCycle {
        members: (first..first + members).collect(),
        stages: (0..4).flat_map(|_| first..first + members).map(stage).collect(),
    };
    (0..packages / members).map(|n| cycle(n * members)).collect()
}

/// A refusal with this many bytes of text.
fn problem(bytes: usize) -> PlanProblem {
    let (kind, message) = (ProblemKind::Other, "x".repeat(bytes));
    PlanProblem { kind, atoms: vec![], message, suggestion: None }
}

/// Large plans, scaled down from the largest allowed size by `scale`.
pub fn large(scale: u32) -> Vec<Shape> {
    let (most, needs) = (MOST_PACKAGES as u32 / scale, MOST_EDGES as u32 / scale);
    let pairs = most / 2;
    let twos = move || (0..pairs).flat_map(|n| [edge(2 * n, 2 * n + 1, "b"), edge(2 * n + 1, 2 * n, "brs")]);
    let inside = move |n| {
        let pair = 2 * spread(n, 7_919, pairs);
        edge(pair + n % 2, pair + 1 - n % 2, "brs")
    };
    let across = move |n, kind| edge(spread(n, 7_919, most), spread(n, 104_729, most), kind);
    let rest = needs - 2 * pairs;
    let cliques = ["b", "brs", "r"]
        .map(|kind| -> Shape { ("all need each other", Due::Taken, Box::new(move || clique(needs, kind))) });
    let mut shapes: Vec<Shape> = vec![
        (
            "tangles, and needs in them",
            Due::Taken,
            Box::new(move || plan(most, twos().chain((0..rest).map(inside)))),
        ),
        (
            "tangles, and satisfied needs across them",
            Due::Taken,
            Box::new(move || plan(most, twos().chain((0..rest).map(|n| across(n, "brs"))))),
        ),
        ("needs across", Due::Taken, Box::new(move || plan(most, (0..needs).map(|n| across(n, "b"))))),
        (
            "run-time needs across",
            Due::Taken,
            Box::new(move || plan(most, (0..needs).map(|n| across(n, "r")))),
        ),
        (
            "a ladder",
            Due::Taken,
            Box::new(move || {
                plan(most, (1..most).flat_map(|n| (1..=9.min(n)).map(move |k| edge(n, n - k, "br"))))
            }),
        ),
        (
            "all need themselves",
            Due::Taken,
            Box::new(move || plan(most, (0..most).map(|n| edge(n, n, "br")))),
        ),
        (
            "long names",
            Due::Taken,
            Box::new(move || {
                let mut long = plan(most / 4, (1..most / 4).map(|n| edge(n, n - 1, "br")));
                for package in long.packages.iter_mut().filter_map(|package| package.portage_mut()) {
                    let flag = |n| format!("{n}{}", "x".repeat(LONGEST_NAME - 1));
                    package.iuse = (0..8).map(flag).collect();
                }
                long
            }),
        ),
    ];
    let hubs = ["b", "r"].map(|kind| -> Shape {
        let hub = move |n| edge(25 + n / 25 % (most - 25), n % 25, kind);
        ("all need the same few", Due::Taken, Box::new(move || plan(most, (0..needs).map(hub))))
    });
    let rings = [2, most].map(|members| -> Shape {
        let ring = move |n: u32| edge(n, n / members * members + (n + 1) % members, "br");
        let made = move || PlanReport { cycles: cycles(most, members), ..plan(most, (0..most).map(ring)) };
        ("cycles that are built four times", Due::Taken, Box::new(made))
    });
    let wordy: [Shape; 2] = [
        (
            "refusals with long texts",
            Due::Taken,
            Box::new(move || {
                let count = MOST_PROBLEMS / scale as usize;
                let mut wordy = plan(1, [].into_iter());
                wordy.problems = vec![problem(MOST_TEXT / MOST_PROBLEMS - 100); count];
                wordy
            }),
        ),
        (
            "a base that provides much",
            Due::Taken,
            Box::new(move || {
                let soname = |n: usize| format!("{n}{}", "s".repeat(100));
                let mut provided = plan(most, (1..most).map(|n| edge(n, n - 1, "br")));
                let names = (1..MOST_SONAMES / scale as usize).map(soname);
                provided.base_provides.insert("x86_64".into(), names.collect());
                provided
            }),
        ),
    ];
    shapes.extend(cliques.into_iter().chain(hubs).chain(rings).chain(wordy));
    let fitting = |(what, due, make): Shape| -> Shape { (what, due, Box::new(move || fitting(make()))) };
    shapes.into_iter().map(fitting).collect()
}

/// Plans that are too large in different ways.
pub fn too_large() -> Vec<Shape> {
    let (most, needs) = (MOST_PACKAGES as u32, MOST_EDGES as u32);
    vec![
        ("a package too many", Due::Refused, Box::new(move || plan(most + 1, [].into_iter()))),
        ("a need too many", Due::Refused, Box::new(move || plan(2, (0..=needs).map(|_| edge(1, 0, "b"))))),
        (
            "too many sonames",
            Due::Refused,
            odd(|plan| {
                let names = (0..=MOST_SONAMES).map(|n| format!("lib{n}.so"));
                plan.base_provides.insert("x86_64".into(), names.collect());
            }),
        ),
    ]
}

/// Small plans with invalid content.
pub fn odd_ones() -> Vec<Shape> {
    let stage = |package| PlanStage { package, use_changes: vec![] };
    let cycle = move |members: &[u32], stages: &[u32]| PlanCycle {
        members: members.to_vec(),
        stages: stages.iter().map(|&package| stage(package)).collect(),
    };
    let mut shapes: Vec<Shape> = vec![
        ("a plan of two", Due::Taken, odd(|_| {})),
        ("an empty plan", Due::Taken, odd(|plan| (plan.packages, plan.edges) = (vec![], vec![]))),
        ("one package many times", Due::Either, odd(|plan| plan.packages = vec![package(1).into(); 500])),
        ("a need of nothing", Due::Refused, odd(|plan| plan.edges.push(edge(1, 2, "b")))),
        ("a need of u32::MAX", Due::Refused, odd(|plan| plan.edges.push(edge(u32::MAX, 0, "b")))),
        ("a cycle of one", Due::Refused, odd(move |plan| plan.cycles = vec![cycle(&[0], &[0])])),
        ("a cycle with nothing", Due::Refused, odd(move |plan| plan.cycles = vec![cycle(&[0, 9], &[0, 9])])),
        ("a cycle twice", Due::Refused, odd(move |plan| plan.cycles = vec![cycle(&[0, 1], &[0, 1]); 2])),
        ("stages of others", Due::Refused, odd(move |plan| plan.cycles = vec![cycle(&[0, 1], &[0, 7])])),
        ("many stages", Due::Refused, odd(move |plan| plan.cycles = vec![cycle(&[0, 1], &[0, 1].repeat(5))])),
        ("a cycle as it is", Due::Taken, odd(move |plan| plan.cycles = vec![cycle(&[0, 1], &[0, 1, 0])])),
        (
            "a name of 255 bytes",
            Due::Taken,
            odd(|plan| plan.packages[0].portage_mut().unwrap().slot = "s".repeat(LONGEST_NAME)),
        ),
        (
            "a name of 256 bytes",
            Due::Refused,
            odd(|plan| plan.packages[0].portage_mut().unwrap().slot = "s".repeat(LONGEST_NAME + 1)),
        ),
        (
            "a megabyte of flags",
            Due::Refused,
            odd(|plan| plan.packages[0].portage_mut().unwrap().iuse = vec!["flag".into(); 40_000]),
        ),
        (
            "refusals with too much text",
            Due::Refused,
            odd(move |plan| plan.problems = vec![problem(2000); MOST_PROBLEMS / 4]),
        ),
        ("many refusals", Due::Refused, odd(move |plan| plan.problems = vec![problem(1); MOST_PROBLEMS + 1])),
        ("a refusal of a megabyte", Due::Either, odd(move |plan| plan.problems = vec![problem(1 << 20)])),
        (
            "a setting of a megabyte",
            Due::Refused,
            odd(|plan| {
                plan.settings.insert("CFLAGS".into(), "x".repeat(1 << 20));
            }),
        ),
        (
            "a toolchain of a megabyte",
            Due::Refused,
            odd(|plan| {
                let compiler = "x".repeat(1 << 20);
                plan.built_with =
                    Some(Box::new(swarm_common::wire::plan::Toolchain { compiler, ..Default::default() }));
            }),
        ),
    ];
    for text in ["a\u{1b}[31mb", "a\nb", "a\0b", "a\u{9b}b", "a b", "a\u{7f}", "a/../b", ""] {
        shapes.push((
            "a slot that is none",
            Due::Refused,
            odd(move |plan| plan.packages[0].portage_mut().unwrap().slot = text.into()),
        ));
        shapes.push((
            "a sub-slot that is none",
            Due::Refused,
            odd(move |plan| {
                plan.packages[0].portage_mut().unwrap().subslot = text.into();
            }),
        ));
        shapes.push((
            "a repository that is none",
            Due::Refused,
            odd(move |plan| {
                plan.packages[0].portage_mut().unwrap().repository = text.into();
            }),
        ));
        shapes.push((
            "a machine that is none",
            Due::Refused,
            odd(move |plan| {
                plan.packages[0].portage_mut().unwrap().chost = text.into();
            }),
        ));
        shapes.push((
            "a USE flag that is none",
            Due::Refused,
            odd(move |plan| {
                (
                    plan.packages[0].portage_mut().unwrap().iuse,
                    plan.packages[0].portage_mut().unwrap().use_flags,
                ) = (vec![text.into()], vec![text.into()]);
            }),
        ));
    }
    shapes
}
