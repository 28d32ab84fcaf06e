//! Packages that install the same paths: one of the two is published, and packages that need the other are
//! treated as if it could not be built.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::kit::{Kit, artifacts, name, report};
use swarm_common::{
    digest::Digest,
    id::*,
    state::*,
    wire::{drone::Work, plan::*},
};
use swarm_core::{
    Command, retention,
    state::{Collision, Conflict, SharedPaths},
    view,
};

/// A plan. In each pair of `needs`, the first package needs the second one at run time.
fn plan(packages: &[&str], needs: &[(u32, u32)]) -> PlanReport {
    let edge = |&(from, to): &(u32, u32)| PlanEdge {
        from,
        to,
        build: false,
        runtime: true,
        slot_operator: false,
        satisfied: false,
    };
    PlanReport { edges: needs.iter().map(edge).collect(), ..report(packages, &[]) }
}

fn stored(kit: &Kit, version: &str) -> Option<Digest> {
    let known = retention::artifacts(&kit.swarm, None);
    known
        .iter()
        .find(|artifact| artifact.target.portage().unwrap().cpv.pf() == version)
        .map(|artifact| artifact.digest)
}

/// Builds everything. Each of `pairs` is found to have a file in common when its later package arrives.
fn night(kit: &mut Kit, plan: PlanReport, pairs: &[(&str, &str)]) -> RunId {
    kit.pass(60_000, &[DroneId(1)]);
    let run = kit.plan(plan);
    while !kit.swarm.runs[&run].state.is_over() {
        let got = kit.claim(DroneId(1)).unwrap();
        let Work::Build(order) = &got.work else { panic!("{got:?}") };
        let (version, own) =
            (order.targets[0].portage().unwrap().cpv.pf(), artifacts(DroneId(1), &got)[0].digest);
        let others = pairs.iter().filter_map(|&(one, other)| match version {
            v if v == one => Some(other),
            v if v == other => Some(one),
            _ => None,
        });
        let conflict = Conflict::Paths(SharedPaths { count: 1, first: vec!["/usr/bin/tool".into()] });
        let found = others
            .filter_map(|other| stored(kit, other))
            .map(|other| Collision { artifacts: [own, other], conflict: conflict.clone() });
        let found = found.collect();
        kit.must(Command::NoteCollisions(found));
        kit.deliver(DroneId(1), &got).unwrap();
    }
    run
}

fn held(kit: &Kit) -> Vec<String> {
    let channel = &kit.swarm.profiles[&name("desk")].channel;
    let mut held: Vec<String> =
        channel.held.values().map(|h| h.artifact.target.portage().unwrap().cpv.pf().to_owned()).collect();
    held.sort();
    held
}

#[test]
fn what_needs_a_package_that_is_not_offered_stays_as_it_was() {
    let mut kit = Kit::new(&["a"]);
    night(&mut kit, plan(&["viewer-1", "tool-1"], &[]), &[]);
    let second = plan(&["tool-1", "viewer-2", "other-1", "lone-1"], &[(1, 2)]);
    let run = night(&mut kit, second, &[("tool-1", "other-1")]);
    assert_eq!(held(&kit), ["lone-1", "tool-1", "viewer-1"]);
    assert_eq!(kit.swarm.runs[&run].state, RunState::Partial);
    let why = |title: &str| {
        let id = view::find(&kit.swarm, title, None).unwrap();
        (id, view::why(&kit.swarm, kit.now, id).unwrap().lines.join("\n"))
    };
    let (other, text) = why("other");
    assert!(text.contains("app/other-1 is not published: it and app/tool-1 both install /usr/bin/tool"));
    let needs = format!("at run time it needs app/other-1 ({other}), which is not published");
    assert!(why("viewer").1.contains(&needs), "{}", why("viewer").1);
    assert!(why("lone").1.contains("stored and published"));
}

#[test]
fn a_new_version_with_a_file_of_what_stays_waits_for_the_new_version_of_that() {
    let mut kit = Kit::new(&["a"]);
    // The file moves from one package to the other. The resolver refuses the first one for a night.
    night(&mut kit, plan(&["one-1", "other-1"], &[]), &[]);
    let mut refused = plan(&["other-2"], &[]);
    refused.problems.push(PlanProblem {
        kind: ProblemKind::Mask,
        atoms: vec!["app/one".into()],
        message: "masked".into(),
        suggestion: None,
    });
    night(&mut kit, refused, &[("one-1", "other-2")]);
    assert_eq!(held(&kit), ["one-1", "other-1"]);
    night(&mut kit, plan(&["one-2", "other-2"], &[]), &[("one-1", "other-2")]);
    assert_eq!(held(&kit), ["one-2", "other-2"]);
    assert!(kit.swarm.profiles[&name("desk")].channel.apart.is_empty());
}

#[test]
fn pairs_are_forgotten_with_what_is_stored() {
    let mut kit = Kit::new(&["a"]);
    let old = plan(&["one-1", "other-1"], &[]);
    night(&mut kit, old, &[("one-1", "other-1")]);
    assert!(!kit.swarm.collisions.is_empty());
    kit.pass(25 * 3600 * 1000, &[DroneId(1)]);
    for n in 0..=kit.swarm.policy.keep_runs {
        night(&mut kit, plan(&[&format!("lone-{n}")], &[]), &[]);
    }
    assert!(kit.swarm.collisions.is_empty());
}

#[test]
fn what_failed_beside_a_program_whose_library_lost_its_soname_is_tried_again_with_the_rebuilt_one() {
    let mut kit = Kit::new(&["a"]);
    night(&mut kit, plan(&["lib-1", "app-1"], &[(1, 0)]), &[]);
    let second = || {
        let build = PlanEdge { build: true, runtime: false, ..plan(&["a-1"], &[(2, 1)]).edges[0].clone() };
        let mut plan = plan(&["lib-2", "app-1", "other-1"], &[(1, 0)]);
        plan.edges.push(build);
        plan
    };
    kit.pass(60_000, &[DroneId(1)]);
    let run = kit.plan(second());
    let lib = kit.claim(DroneId(1)).unwrap();
    let lost = Conflict::Lost { lost: vec!["liblib.so.1".into()] };
    let pair = [artifacts(DroneId(1), &lib)[0].digest, stored(&kit, "app-1").unwrap()];
    kit.must(Command::NoteCollisions(vec![Collision { artifacts: pair, conflict: lost }]));
    kit.deliver(DroneId(1), &lib).unwrap();
    while !kit.swarm.runs[&run].state.is_over() {
        match kit.claim(DroneId(1)) {
            Some(other) => kit.fail(DroneId(1), &other, FailureClass::Package, "app: cannot start"),
            None => kit.pass(60_000, &[DroneId(1)]),
        }
    }
    assert_eq!(held(&kit), ["app-1", "lib-1"]);

    kit.pass(60_000, &[DroneId(1)]);
    let third = kit.plan(second());
    let states = kit.swarm.runs[&third].packages.iter().map(|id| {
        let package = &kit.swarm.packages[id];
        (package.title(), package.state)
    });
    let states: Vec<_> = states.collect();
    let expected = [
        ("app/lib-2".to_owned(), PackageState::Received),
        ("app/app-1".to_owned(), PackageState::Needed),
        ("app/other-1".to_owned(), PackageState::Blocked),
    ];
    assert_eq!(states, expected);
}
