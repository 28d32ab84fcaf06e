//! Profiles of Nix: derivations as packages, references learned on arrival, and attributes that move
//! only when everything that they need is there.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::kit::{Kit, artifacts, name, report};
use swarm_common::{
    digest::Digest,
    id::*,
    state::*,
    wire::{
        admin::{BuilderKind, ProfileRequest, Rebuild},
        base::Base,
        drone::{BuildOrder, Usage, Work},
        nix::{Nar, NixOutput, NixPackage, NixRoot},
        plan::{PlanEdge, PlanPackage, PlanProblem, PlanReport, ProblemKind},
    },
};
use swarm_core::{Command, Reply, plan};

const ONE: DroneId = DroneId(1);

/// A store path that differs with `hash`, a digit or letter.
fn path(hash: char, name: &str) -> String {
    format!("/nix/store/{}-{name}", hash.to_string().repeat(32))
}

fn base(path: &str) -> String {
    path.trim_start_matches("/nix/store/").to_owned()
}

fn derivation(hash: char, name: &str) -> PlanPackage {
    PlanPackage::Nix(NixPackage {
        name: name.into(),
        drv: Some(path(hash, &format!("{name}.drv"))),
        outputs: vec![NixOutput { name: "out".into(), path: path(hash, name) }],
        system: "x86_64-linux".into(),
        fixed: false,
        features: vec![],
        local: false,
    })
}

fn root(attribute: &str, path: String) -> NixRoot {
    NixRoot { attribute: attribute.into(), path, host: attribute == "server" }
}

/// `lib`, `tool` built with `lib`, and the host `server` built with `tool`. `version` changes all but
/// `lib`.
fn world(version: char) -> PlanReport {
    let edge =
        |from, to| PlanEdge { from, to, build: true, runtime: false, slot_operator: false, satisfied: false };
    let upper = version.to_ascii_uppercase() as u8;
    let tool = char::from(upper - b'A' + b'f');
    PlanReport {
        packages: vec![derivation('0', "lib-1"), derivation(tool, "tool-2"), derivation(version, "system")],
        edges: vec![edge(1, 0), edge(2, 1)],
        roots: vec![root("tool", path(tool, "tool-2")), root("server", path(version, "system"))],
        ..report(&[], &[])
    }
}

fn kit() -> Kit {
    let mut kit = Kit::new(&["one"]);
    let request = ProfileRequest {
        builder: BuilderKind::Nix,
        snapshot: Digest::of(b"flake"),
        source: "a test".into(),
        base: None,
        rebuild: Rebuild::Gentoo,
    };
    kit.must(Command::PutProfile { name: name("hosts"), request });
    kit
}

/// Claims a build, and delivers it with references to these store paths.
fn build(kit: &mut Kit, references: &[String]) -> BuildOrder {
    let got = kit.claim(ONE).unwrap();
    let Work::Build(order) = &got.work else { panic!("{got:?}") };
    let mut artifacts = artifacts(ONE, &got);
    for artifact in &mut artifacts {
        let references = references.iter().map(|path| base(path)).collect();
        artifact.nar = Some(Box::new(Nar { hash: artifact.digest, size: 100, references }));
    }
    let usage = Usage { wall_ms: 1000, ..Usage::default() };
    kit.must(Command::ReceivePackage { drone: ONE, attempt: got.attempt, artifacts, usage });
    order.clone()
}

fn at(kit: &Kit, attribute: &str) -> Option<(String, RunId)> {
    let roots = &kit.swarm.profiles[&name("hosts")].channel.roots;
    let found = roots.iter().find(|at| at.root.attribute == attribute)?;
    Some((found.root.path.clone(), found.run))
}

#[test]
fn a_derivation_is_ordered_with_the_closure_of_what_it_is_built_with() {
    let mut kit = kit();
    let run = kit.plan_for("hosts", world('a'));
    assert_eq!(kit.swarm.runs[&run].base, Base::Nix);
    let lib = build(&mut kit, &[]);
    assert!(lib.inputs.is_empty() && lib.dependencies.is_empty());
    assert_eq!(lib.targets[0].title(), "lib-1");
    // The tool needs the library at run time, which nobody knew before it was built.
    let tool = build(&mut kit, &[path('0', "lib-1"), path('f', "tool-2")]);
    let paths = |order: &BuildOrder| order.inputs.iter().map(|i| i.path.clone()).collect::<Vec<_>>();
    assert_eq!(paths(&tool), [path('0', "lib-1")]);
    let system = build(&mut kit, &[]);
    assert_eq!(paths(&system), [path('0', "lib-1"), path('f', "tool-2")], "each after what it refers to");
    assert_eq!(kit.swarm.runs[&run].state, RunState::Succeeded);
}

#[test]
fn only_a_drone_with_nix_gets_derivations() {
    let mut kit = kit();
    kit.plan_for("hosts", world('a'));
    kit.swarm.drones.get_mut(&ONE).unwrap().facts.nix = None;
    assert!(kit.claim(ONE).is_none());
    kit.swarm.drones.get_mut(&ONE).unwrap().facts.nix = Some("2.8.0".into());
    assert!(kit.claim(ONE).is_some());
}

#[test]
fn an_output_path_that_was_built_is_not_built_again() {
    let mut kit = kit();
    kit.plan_for("hosts", world('a'));
    (0..3).for_each(|_| _ = build(&mut kit, &[]));
    let second = kit.plan_for("hosts", world('b'));
    assert_eq!(kit.swarm.runs[&second].reused, 1, "the library");
    assert_eq!(build(&mut kit, &[]).targets[0].title(), "tool-2");
    assert_eq!(build(&mut kit, &[]).targets[0].title(), "system");
}

#[test]
fn an_attribute_moves_only_when_its_whole_closure_is_there() {
    let mut kit = kit();
    let first = kit.plan_for("hosts", world('a'));
    build(&mut kit, &[]);
    build(&mut kit, &[path('0', "lib-1")]);
    build(&mut kit, &[path('f', "tool-2")]);
    assert_eq!(at(&kit, "server"), Some((path('a', "system"), first)));

    let second = kit.plan_for("hosts", world('b'));
    build(&mut kit, &[path('0', "lib-1")]);
    while !kit.swarm.runs[&second].state.is_over() {
        if let Some(got) = kit.claim(ONE) {
            kit.fail(ONE, &got, FailureClass::Package, "error: no");
        }
        kit.pass(60_000, &[ONE]);
    }
    assert_eq!(kit.swarm.runs[&second].state, RunState::Partial);
    assert_eq!(at(&kit, "tool"), Some((path('g', "tool-2"), second)), "it is whole");
    assert_eq!(at(&kit, "server"), Some((path('a', "system"), first)), "it stays where it was");
    let held: Vec<String> = {
        let held = kit.swarm.profiles[&name("hosts")].channel.held.values();
        held.map(|held| held.artifact.target.id().to_owned()).collect()
    };
    for needed in [path('a', "system"), path('f', "tool-2"), path('0', "lib-1"), path('g', "tool-2")] {
        assert!(held.contains(&needed), "{needed} is not in {held:?}");
    }
}

#[test]
fn an_attribute_that_fails_to_evaluate_stays_and_one_that_is_gone_does_not() {
    let mut kit = kit();
    kit.plan_for("hosts", world('a'));
    (0..3).for_each(|_| _ = build(&mut kit, &[]));
    let mut broken = world('a');
    broken.roots.clear();
    broken.problems.push(PlanProblem {
        kind: ProblemKind::Evaluation,
        atoms: vec!["server".into()],
        message: "error: attribute 'hostName' missing".into(),
        suggestion: None,
    });
    kit.plan_for("hosts", broken);
    assert!(at(&kit, "server").is_some());
    assert_eq!(at(&kit, "tool"), None);
}

#[test]
fn what_an_upstream_cache_has_is_there() {
    let mut kit = kit();
    let upstream = path('c', "hello-1");
    let plan = PlanReport { roots: vec![root("hello", upstream.clone())], ..report(&[], &[]) };
    let run = kit.plan_for("hosts", plan);
    assert_eq!(at(&kit, "hello"), Some((upstream, run)));
}

#[test]
fn hostile_derivations_are_refused_with_a_reason() {
    let nix = |plan: &mut PlanReport, change: fn(&mut NixPackage)| match &mut plan.packages[0] {
        PlanPackage::Nix(package) => change(package),
        PlanPackage::Portage(_) => panic!("no derivation"),
    };
    let refused = |change: &dyn Fn(&mut PlanReport)| {
        let mut plan = world('a');
        plan::check(&plan).unwrap();
        change(&mut plan);
        plan::check(&plan).expect_err("a refusal")
    };
    for (change, words) in [
        ((|p| p.outputs[0].path = "/etc/passwd".into()) as fn(&mut NixPackage), "no store path"),
        (|p| p.outputs[0].path = path('e', "x"), "no store path"),
        (|p| p.outputs[0].path = path('0', "../x"), "no store path"),
        (|p| p.outputs[0].path = path('a', "system"), "twice"),
        (|p| p.drv = Some(path('0', "lib-1")), "no store path"),
        (|p| p.outputs[0].name = "a b".into(), "output"),
        (|p| p.outputs[0].name = String::new(), "output"),
        (|p| p.outputs.clear(), "no outputs"),
        (|p| p.outputs = vec![p.outputs[0].clone(); 65], "too many"),
        (|p| p.name = "a\nb".into(), "invalid name"),
        (|p| p.features = vec!["\u{1b}[31m".into()], "feature"),
    ] {
        let why = refused(&|plan| nix(plan, change));
        assert!(why.contains(words), "{why}: {words}");
    }
    let why = refused(&|plan| plan.packages.extend(report(&["a-1"], &[]).packages));
    assert!(why.contains("both"), "{why}");
    let why = refused(&|plan| plan.edges[0].runtime = true);
    assert!(why.contains("run-time"), "{why}");
    let why = refused(&|plan| plan.roots[0].path = "/tmp".into());
    assert!(why.contains("attribute"), "{why}");
}

#[test]
fn a_profile_of_gentoo_and_one_of_nix_are_built_by_one_fleet() {
    let mut kit = kit();
    kit.run(&["a-1"], &[]);
    kit.plan_for("hosts", world('a'));
    let mut titles = Vec::new();
    while let Some(got) = kit.claim(ONE) {
        let Work::Build(order) = &got.work else { panic!("{got:?}") };
        titles.push(order.targets[0].title().to_owned());
        assert!(matches!(kit.deliver(ONE, &got), Ok(reply) if reply.accepted));
    }
    titles.sort();
    assert_eq!(titles, ["app/a-1", "lib-1", "system", "tool-2"]);
    assert!(matches!(kit.must(Command::Maintain), Reply::Done));
}
