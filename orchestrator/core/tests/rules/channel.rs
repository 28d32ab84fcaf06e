//! What workstations get: a working version stays until its successor can be installed.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::kit::{Kit, artifacts, name, package_of, report};
use swarm_common::{
    id::*,
    state::*,
    time::TimeMs,
    wire::{
        drone::{Usage, Work},
        plan::*,
    },
};
use swarm_core::{Command, retention, view};

/// The first package needs the second one at run time.
fn runtime(from: u32, to: u32) -> PlanEdge {
    PlanEdge { from, to, build: false, runtime: true, slot_operator: false, satisfied: false }
}

pub fn plan(packages: &[&str], needs: &[(u32, u32)]) -> PlanReport {
    let edges = needs.iter().map(|&(from, to)| runtime(from, to)).collect();
    PlanReport { edges, ..report(packages, &[]) }
}

fn refused(mut plan: PlanReport, atoms: &[&str]) -> PlanReport {
    plan.problems.push(PlanProblem {
        kind: ProblemKind::Mask,
        atoms: atoms.iter().map(|&atom| atom.to_owned()).collect(),
        message: "masked".into(),
        suggestion: None,
    });
    plan
}

fn abi(mut plan: PlanReport, subslots: &[(usize, &str)]) -> PlanReport {
    for &(n, subslot) in subslots {
        plan.packages[n].portage_mut().unwrap().subslot = subslot.into();
    }
    plan
}

/// Runs a night in which everything can be built except packages whose name begins with one of `broken`.
pub fn night(kit: &mut Kit, plan: PlanReport, broken: &[&str]) -> RunId {
    // Packages that failed the night before are tried again.
    kit.swarm.policy.quarantine_retry_ms = 60_000;
    kit.pass(60_000, &[DroneId(1), DroneId(2)]);
    let run = kit.plan(plan);
    build(kit, broken);
    assert!(kit.swarm.runs[&run].state.is_over(), "{:?}", kit.swarm.runs[&run].state);
    run
}

fn build(kit: &mut Kit, broken: &[&str]) {
    for _ in 0..400 {
        let mut idle = true;
        for drone in [DroneId(1), DroneId(2)] {
            let Some(got) = kit.claim(drone) else { continue };
            idle = false;
            let Work::Build(order) = &got.work else { panic!("{got:?}") };
            match broken
                .iter()
                .any(|b| order.targets.iter().any(|t| t.portage().unwrap().cpv.pf().starts_with(b)))
            {
                true => kit.fail(drone, &got, FailureClass::Package, "it does not compile"),
                false => _ = kit.deliver(drone, &got).unwrap(),
            }
        }
        if idle && kit.swarm.runs.values().all(|run| run.state.is_over()) {
            return;
        }
        if idle {
            kit.pass(60_000, &[DroneId(1), DroneId(2)]);
        }
    }
    panic!("the night does not end");
}

/// The content of `desk`'s channel, sorted. `NAME-VERSION*` is a package that is only there because others
/// need it.
fn held(kit: &Kit) -> Vec<String> {
    let channel = &kit.swarm.profiles[&name("desk")].channel;
    let mut held: Vec<String> = channel
        .held
        .values()
        .map(|h| {
            format!("{}{}", h.artifact.target.portage().unwrap().cpv.pf(), if h.current { "" } else { "*" })
        })
        .collect();
    held.sort();
    held
}

#[test]
fn a_version_whose_run_time_needs_failed_does_not_replace_the_one_that_works() {
    let mut kit = Kit::new(&["a", "b"]);
    night(&mut kit, plan(&["viewer-1", "lone-1"], &[]), &[]);
    assert_eq!(held(&kit), ["lone-1", "viewer-1"]);

    let successor = || plan(&["viewer-2", "lone-2", "newlib-1"], &[(0, 2)]);
    let second = night(&mut kit, successor(), &["newlib"]);
    assert_eq!(kit.swarm.runs[&second].count(PackageState::Received), 2, "viewer-2 itself was built");
    assert_eq!(held(&kit), ["lone-2", "viewer-1"]);

    night(&mut kit, successor(), &["newlib"]);
    assert_eq!(held(&kit), ["lone-2", "viewer-1"], "as long as it takes");
    night(&mut kit, successor(), &[]);
    assert_eq!(held(&kit), ["lone-2", "newlib-1", "viewer-2"]);
}

#[test]
fn what_the_base_stands_in_for_during_a_night_must_be_offered_with_what_needs_it() {
    let mut kit = Kit::new(&["a", "b"]);
    night(&mut kit, plan(&["setuptools-1"], &[]), &[]);
    // setuptools needs scm after its installation, scm is built with vcs, and vcs with setuptools. The base
    // has all of them.
    let world = || {
        let mut plan =
            plan(&["setuptools-2", "scm-1", "vcs-1", "jinja-1"], &[(0, 1), (1, 2), (2, 0), (3, 0)]);
        for edge in &mut plan.edges[..3] {
            (edge.build, edge.runtime, edge.satisfied) = (edge.from != 0, edge.from == 0, true);
        }
        plan
    };
    let run = night(&mut kit, world(), &["vcs"]);
    assert_eq!(
        kit.swarm.runs[&run].count(PackageState::Received),
        2,
        "setuptools and jinja themselves were built"
    );
    assert_eq!(held(&kit), ["setuptools-1"], "clients have no base that stands in for scm");
    let id = |title: &str| view::find(&kit.swarm, title, None).unwrap();
    assert!(swarm_core::channel::lacks(&kit.swarm, id("jinja")).contains(&id("scm")));
    night(&mut kit, world(), &[]);
    assert_eq!(held(&kit), ["jinja-1", "scm-1", "setuptools-2", "vcs-1"]);
}

#[test]
fn what_was_never_installable_is_not_shown_and_what_it_lacks_can_be_named() {
    let mut kit = Kit::new(&["a", "b"]);
    night(&mut kit, plan(&["viewer-2", "wrapper-1", "newlib-1"], &[(0, 1), (1, 2)]), &["newlib"]);
    assert_eq!(held(&kit), [] as [&str; 0]);
    let id = |title: &str| view::find(&kit.swarm, title, None).unwrap();
    assert_eq!(swarm_core::channel::lacks(&kit.swarm, id("viewer")), [id("newlib")]);
}

#[test]
fn what_stays_keeps_what_it_needs_and_that_goes_with_it() {
    let mut kit = Kit::new(&["a", "b"]);
    let old = plan(&["viewer-1", "codec-1", "data-1"], &[(0, 1), (1, 2)]);
    night(&mut kit, old, &[]);
    // The new version needs neither codec nor data, but does not compile.
    night(&mut kit, plan(&["viewer-2"], &[]), &["viewer"]);
    assert_eq!(held(&kit), ["codec-1*", "data-1*", "viewer-1"]);
    night(&mut kit, plan(&["viewer-2"], &[]), &[]);
    assert_eq!(held(&kit), ["viewer-2"]);
}

#[test]
fn what_the_resolver_refuses_stays_with_its_needs_until_it_is_planned_or_dropped() {
    let mut kit = Kit::new(&["a", "b"]);
    night(&mut kit, plan(&["editor-1", "lib-1", "other-1"], &[(0, 1)]), &[]);
    night(&mut kit, refused(plan(&["other-2"], &[]), &[">=app/editor-1:0[-gtk]"]), &[]);
    assert_eq!(held(&kit), ["editor-1", "lib-1*", "other-2"]);
    // The next night it is not wanted any more.
    night(&mut kit, plan(&["other-2"], &[]), &[]);
    assert_eq!(held(&kit), ["other-2"]);
}

#[test]
fn a_refusal_that_names_no_package_takes_nothing_away() {
    let mut kit = Kit::new(&["a", "b"]);
    night(&mut kit, plan(&["editor-1", "other-1"], &[]), &[]);
    night(&mut kit, refused(plan(&["other-2"], &[]), &["@desktop"]), &[]);
    assert_eq!(held(&kit), ["editor-1", "other-2"]);
}

#[test]
fn a_kept_package_and_its_new_neighbours_can_be_installed_together_in_their_old_versions() {
    let mut kit = Kit::new(&["a", "b"]);
    let old = plan(&["viewer-1", "player-1", "lib-1"], &[(0, 2), (1, 2)]);
    night(&mut kit, abi(old, &[(2, "1")]), &[]);
    let new = || abi(plan(&["viewer-2", "player-2", "lib-2"], &[(0, 2), (1, 2)]), &[(2, "2")]);
    night(&mut kit, new(), &["viewer"]);
    // viewer-1 and the old player work only with lib-1.
    assert_eq!(held(&kit), ["lib-1*", "lib-2", "player-1*", "player-2", "viewer-1"]);
    night(&mut kit, new(), &[]);
    assert_eq!(held(&kit), ["lib-2", "player-2", "viewer-2"]);
}

#[test]
fn packages_that_need_each_other_at_run_time_are_replaced_together() {
    let mut kit = Kit::new(&["a", "b"]);
    night(&mut kit, plan(&["x-1", "y-1"], &[(0, 1), (1, 0)]), &[]);
    night(&mut kit, plan(&["x-2", "y-2"], &[(0, 1), (1, 0)]), &["y"]);
    assert_eq!(held(&kit), ["x-1", "y-1"]);
}

#[test]
fn a_retry_that_succeeds_shows_what_waited_for_it() {
    let mut kit = Kit::new(&["a", "b"]);
    night(&mut kit, plan(&["viewer-1"], &[]), &[]);
    night(&mut kit, plan(&["viewer-2", "newlib-1"], &[(0, 1)]), &["newlib"]);
    let revision = kit.swarm.profiles[&name("desk")].channel.revision;
    let newlib = view::find(&kit.swarm, "newlib", None).unwrap();
    kit.must(Command::RetryPackage(newlib));
    build(&mut kit, &[]);
    assert_eq!(held(&kit), ["newlib-1", "viewer-2"]);
    assert!(kit.swarm.profiles[&name("desk")].channel.revision > revision);
}

#[test]
fn a_run_without_a_plan_or_that_was_cancelled_changes_nothing() {
    let mut kit = Kit::new(&["a", "b"]);
    night(&mut kit, plan(&["viewer-1"], &[]), &[]);
    let run = kit.plan(plan(&["viewer-2"], &[]));
    let got = kit.claim(DroneId(1)).unwrap();
    assert_eq!(kit.swarm.packages[&package_of(&got)].title(), "app/viewer-2");
    kit.must(Command::CancelRun(run));
    assert_eq!(held(&kit), ["viewer-1"]);
}

#[test]
fn what_is_shown_is_stored_however_many_runs_were_forgotten() {
    let mut kit = Kit::new(&["a", "b"]);
    night(&mut kit, plan(&["editor-1", "lib-1"], &[(0, 1)]), &[]);
    for n in 0..kit.swarm.policy.keep_runs + 2 {
        let other = format!("other-{n}");
        night(&mut kit, refused(plan(&[&other], &[]), &["app/editor"]), &[]);
    }
    assert_eq!(held(&kit)[..2], ["editor-1", "lib-1*"]);
    let stored = retention::artifacts(&kit.swarm, None);
    assert!(
        stored.iter().any(|a| a.target.portage().unwrap().cpv.pf() == "lib-1"),
        "the store may not forget it"
    );
}

#[test]
fn a_rebuild_has_a_later_build_time_even_if_the_clock_was_set_back() {
    let mut kit = Kit::new(&["a"]);
    kit.run(&["x-1"], &[]);
    let got = kit.claim(DroneId(1)).unwrap();
    let targets = match &got.work {
        Work::Build(order) => order.targets.clone(),
        Work::Plan | Work::Base => panic!("{got:?}"),
    };
    assert_eq!(kit.swarm.next_build_time(&targets, TimeMs(5_000_999)), TimeMs(5_000_000));
    let mut artifacts = artifacts(DroneId(1), &got);
    artifacts[0].received_at = TimeMs(9_000_000);
    let usage = Usage::default();
    kit.must(Command::ReceivePackage { drone: DroneId(1), attempt: got.attempt, artifacts, usage });
    assert_eq!(kit.swarm.next_build_time(&targets, TimeMs(5_000_000)), TimeMs(9_001_000));
    assert_eq!(kit.swarm.next_build_time(&targets, TimeMs(9_000_900)), TimeMs(9_001_000));
    assert_eq!(kit.swarm.next_build_time(&targets, TimeMs(9_900_000)), TimeMs(9_900_000));
}
