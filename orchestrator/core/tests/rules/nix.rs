//! Nix profiles: derivations as packages, references that become known on arrival, and attributes that move
//! only when everything they need is there.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::kit::{Kit, artifacts, name, package_of, report, said};
use std::collections::BTreeMap;
use swarm_common::{
    digest::Digest,
    id::*,
    state::*,
    wire::{
        admin::{BuilderKind, ProfileRequest, Rebuild},
        base::Base,
        concern::ConcernKind,
        drone::{BuildOrder, Usage, Work},
        nix::{Nar, NixMachine, NixOutput, NixPackage, NixRoot},
        plan::{PlanEdge, PlanPackage, PlanProblem, PlanReport, ProblemKind},
    },
};
use swarm_core::{Command, Reply, judge, plan, view};

pub const ONE: DroneId = DroneId(1);

/// A store path that differs for each `hash`, a digit or letter.
pub fn path(hash: char, name: &str) -> String {
    format!("/nix/store/{}-{name}", hash.to_string().repeat(32))
}

fn base(path: &str) -> String {
    path.trim_start_matches("/nix/store/").to_owned()
}

pub fn derivation(hash: char, name: &str) -> PlanPackage {
    PlanPackage::Nix(NixPackage {
        name: name.into(),
        drv: Some(path(hash, &format!("{name}.drv"))),
        outputs: vec![NixOutput { name: "out".into(), path: path(hash, name) }],
        system: "x86_64-linux".into(),
        fixed: false,
        content_hash: None,
        features: vec![],
        local: false,
    })
}

pub fn root(attribute: &str, path: String) -> NixRoot {
    NixRoot { attribute: attribute.into(), path, host: attribute == "server" }
}

/// `lib`, `tool` built with `lib`, and the host `server` built with `tool`. `version` changes all of them but
/// `lib`.
pub fn world(version: char) -> PlanReport {
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

pub fn kit() -> Kit {
    let mut kit = Kit::new(&["one"]);
    let request = ProfileRequest {
        builder: BuilderKind::Nix,
        snapshot: Digest::of(b"flake"),
        source: "a test".into(),
        base: None,
        rebuild: Rebuild::Gentoo,
        publish: Default::default(),
        cpu: Default::default(),
    };
    kit.must(Command::PutProfile { name: name("hosts"), request });
    kit
}

/// Claims a build and delivers it with references to these store paths.
pub fn build(kit: &mut Kit, references: &[String]) -> BuildOrder {
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

pub fn at(kit: &Kit, attribute: &str) -> Option<(String, RunId)> {
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
    // The tool needs the library at run time, which was unknown before it was built.
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

/// The drone reports that it builds for this system and has these features.
fn tells(kit: &mut Kit, drone: DroneId, system: &str, features: &[&str]) {
    let features = features.iter().map(|&feature| feature.to_owned()).collect();
    let machine = NixMachine { systems: vec![system.into()], features };
    kit.swarm.drones.get_mut(&drone).unwrap().facts.nix_machine = Some(machine.into());
}

/// Makes the `nth` derivation of the plan require this system and these features.
fn require(plan: &mut PlanReport, nth: usize, system: &str, features: &[&str]) {
    let PlanPackage::Nix(package) = &mut plan.packages[nth] else { panic!("no derivation") };
    package.system = system.into();
    package.features = features.iter().map(|&feature| feature.to_owned()).collect();
}

/// The concerns about missing machines: the text, and what to do.
fn concerns(kit: &Kit) -> Vec<(String, String)> {
    let found = view::concerns(&kit.swarm, kit.now, kit.now, &[]).into_iter();
    let found = found.filter(|concern| matches!(concern.fact, ConcernKind::NoSuchMachine { .. }));
    found.map(|concern| (concern.what, concern.next)).collect()
}

#[test]
fn a_derivation_goes_only_to_a_drone_of_its_system_with_the_features_that_it_requires() {
    let mut kit = kit();
    let two = kit.enrol("two");
    tells(&mut kit, ONE, "x86_64-linux", &["big-parallel"]);
    tells(&mut kit, two, "aarch64-linux", &["big-parallel", "kvm"]);
    let mut plan = world('a');
    plan.edges.clear();
    require(&mut plan, 0, "aarch64-linux", &[]);
    require(&mut plan, 1, "x86_64-linux", &["big-parallel"]);
    // Nix itself builds it on every system, but not without the feature.
    require(&mut plan, 2, "", &["kvm"]);
    kit.plan_for("hosts", plan);
    let mut got = BTreeMap::new();
    while let Some((drone, order)) = [ONE, two].iter().find_map(|&d| Some((d, kit.claim(d)?))) {
        got.insert(package_of(&order).0, drone);
        kit.deliver(drone, &order).unwrap();
    }
    assert_eq!(got.into_values().collect::<Vec<_>>(), [two, ONE, two]);
    assert!(concerns(&kit).is_empty());
}

#[test]
fn a_drone_that_does_not_tell_its_systems_gets_derivations_for_all_of_them() {
    let mut kit = kit();
    let mut plan = world('a');
    require(&mut plan, 0, "aarch64-linux", &["kvm"]);
    kit.plan_for("hosts", plan);
    assert!(kit.claim(ONE).is_some());
}

#[test]
fn what_no_drone_can_build_waits_with_the_reason_and_ends_with_the_run() {
    let mut kit = kit();
    tells(&mut kit, ONE, "x86_64-linux", &["big-parallel"]);
    let mut plan = world('a');
    plan.edges.clear();
    plan.edges.push(world('a').edges[1].clone());
    require(&mut plan, 1, "x86_64-linux", &["big-parallel", "kvm"]);
    plan.packages.push(derivation('c', "far-1"));
    require(&mut plan, 3, "aarch64-linux", &[]);
    let run = kit.plan_for("hosts", plan);
    let reason = |kit: &Kit, id| view::package(&kit.swarm, kit.now, PackageId(id)).unwrap().reason;
    assert_eq!(
        reason(&kit, 2),
        "waits for a drone: no drone of hosts that builds for x86_64-linux has the system feature kvm"
    );
    assert_eq!(reason(&kit, 4), "waits for a drone: no drone of hosts builds for aarch64-linux");
    let why = view::why(&kit.swarm, kit.now, PackageId(4)).unwrap().lines.join("\n");
    assert!(why.contains("the run ends without it"), "{why}");
    let reported = concerns(&kit);
    assert_eq!(reported[0].0, "no drone of hosts builds for aarch64-linux: far-1 (p4) of r1 needs it");
    assert!(reported[0].1.contains("add aarch64-linux to extra_platforms"), "{reported:?}");
    assert!(
        reported[1].0.ends_with("has the system feature kvm: tool-2 (p2) of r1 needs it"),
        "{reported:?}"
    );
    assert!(reported[1].1.contains("add kvm to system_features") && reported.len() == 2, "{reported:?}");

    // The rest is built first, and then the run ends.
    assert_eq!(build(&mut kit, &[]).targets[0].title(), "lib-1");
    assert_eq!(kit.swarm.runs[&run].state, RunState::Partial);
    assert_eq!(said(&kit.swarm.runs[&run].reason), "2 quarantined, 1 blocked");
    assert_eq!(reason(&kit, 4), "no drone of hosts builds for aarch64-linux");
    assert_eq!(concerns(&kit), reported, "it is still so");

    // The next run tries again, and by then there is such a drone.
    let two = kit.enrol("two");
    tells(&mut kit, two, "aarch64-linux", &["kvm"]);
    assert_eq!(concerns(&kit).len(), 1, "what the new one cannot build either");
    let mut plan = world('b');
    plan.packages = vec![derivation('c', "far-1")];
    plan.edges.clear();
    plan.roots.clear();
    require(&mut plan, 0, "aarch64-linux", &[]);
    let next = kit.plan_for("hosts", plan);
    assert!(kit.claim(ONE).is_none());
    let order = kit.claim(two).unwrap();
    kit.deliver(two, &order).unwrap();
    assert_eq!(kit.swarm.runs[&next].state, RunState::Succeeded);
}

#[test]
fn a_run_waits_for_a_drone_that_is_off_and_the_last_for_a_system_is_not_grounded() {
    let mut kit = kit();
    let two = kit.enrol("two");
    tells(&mut kit, ONE, "x86_64-linux", &[]);
    tells(&mut kit, two, "aarch64-linux", &[]);
    let mut plan = world('a');
    plan.edges.clear();
    plan.roots.clear();
    plan.packages.truncate(1);
    require(&mut plan, 0, "aarch64-linux", &[]);
    let run = kit.plan_for("hosts", plan);
    assert!(judge::strike::is_last_able(&kit.swarm, two) && !judge::strike::is_last_able(&kit.swarm, ONE));
    kit.must(Command::SignOff { drone: two, reason: "night".into() });
    kit.pass(kit.swarm.policy.idle_alarm_ms * 2, &[ONE]);
    assert_eq!(kit.swarm.runs[&run].state, RunState::Building);
    assert!(concerns(&kit).is_empty(), "it comes back");
    let idle = view::concerns(&kit.swarm, kit.now, kit.now, &[]);
    let idle = idle.iter().find(|concern| matches!(concern.fact, ConcernKind::DroneIdle { .. }));
    assert!(idle.is_none(), "the other has nothing to do: {idle:?}");
}

#[test]
fn what_a_drone_cannot_build_does_not_hide_from_it_what_it_can() {
    let mut kit = kit();
    let two = kit.enrol("two");
    tells(&mut kit, ONE, "x86_64-linux", &[]);
    tells(&mut kit, two, "aarch64-linux", &[]);
    let digits = "0123456789abcdfghijklmnpqrsvwxyz";
    let names = digits.chars().flat_map(|a| digits.chars().map(move |b| format!("{a}{b}-1"))).take(400);
    let mut plan = world('a');
    plan.edges.clear();
    plan.roots.clear();
    let packages = names.enumerate().map(|(n, name)| {
        let PlanPackage::Nix(mut package) = derivation('0', &name) else { panic!("no derivation") };
        package.system = if n < 399 { "aarch64-linux".into() } else { "x86_64-linux".into() };
        PlanPackage::Nix(package)
    });
    plan.packages = packages.collect();
    kit.plan_for("hosts", plan);
    assert_eq!(kit.claim(ONE).map(|got| package_of(&got)), Some(PackageId(400)));
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
        (|p| p.outputs[0].path = path('0', "x").replace("/nix/", "/gnu/"), "no store path"),
        (|p| p.outputs[0].path = path('0', "x\nSig: swarm-1:AAAA"), "no store path"),
        (|p| p.drv = Some(path('0', "x y.drv")), "no store path"),
        (|p| p.outputs[0].path = path('a', "system"), "twice"),
        (|p| p.drv = Some(path('0', "lib-1")), "no store path"),
        (|p| p.outputs[0].name = "a b".into(), "output"),
        (|p| p.outputs[0].name = String::new(), "output"),
        (|p| p.outputs.clear(), "no outputs"),
        (|p| p.outputs = vec![p.outputs[0].clone(); 65], "too many"),
        (|p| p.name = "a\nb".into(), "invalid name"),
        (|p| p.features = (0..65).map(|n| format!("f{n}")).collect(), "requires 65 system features"),
        (|p| p.system = "x".repeat(129), "long name"),
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
