//! Packages that an admin wants to rebuild, and the reason why a package is rebuilt.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by a panic")]

use crate::kit::{Kit, report};
use swarm_common::{
    id::*,
    wire::{drone::Work, plan::PlanReport},
};
use swarm_core::{Command, Reply, view};

const A: DroneId = DroneId(1);

/// `top` is built with `mid`, which needs `lib` at run time. `lone` has no dependencies.
fn plan() -> PlanReport {
    let mut plan = report(&["top-1", "mid-1", "lib-1", "lone-1"], &[(0, 1), (1, 2)]);
    (plan.edges[1].build, plan.edges[1].runtime) = (false, true);
    plan.settings.insert("env.CFLAGS".into(), "-O2".into());
    plan
}

/// Builds everything that is needed. Returns the names of the built packages.
fn build(kit: &mut Kit) -> Vec<String> {
    let mut built = Vec::new();
    while let Some(got) = kit.claim(A) {
        let Work::Build(order) = &got.work else { panic!("{got:?}") };
        built.extend(order.targets.iter().map(|t| t.portage().unwrap().cpv.pf().to_owned()));
        kit.deliver(A, &got).unwrap();
    }
    built.sort();
    built
}

fn built_once() -> Kit {
    let mut kit = Kit::new(&["a"]);
    kit.plan(plan());
    assert_eq!(build(&mut kit).len(), 4);
    kit
}

fn rebuild(kit: &mut Kit, package: u64, dependants: bool) -> Vec<u64> {
    let reason = "the library was miscompiled".to_owned();
    let reply = kit.must(Command::Rebuild { package: PackageId(package), dependants, reason });
    let Reply::Packages(packages) = reply else { panic!("{reply:?}") };
    packages.into_iter().map(|p| p.0).collect()
}

fn why(kit: &Kit, package: u64) -> String {
    view::why(&kit.swarm, kit.now, PackageId(package)).unwrap().lines.join("\n")
}

#[test]
fn a_package_that_an_admin_wants_rebuilt_is_built_by_the_next_run_and_by_no_later_one() {
    let mut kit = built_once();
    assert_eq!(rebuild(&mut kit, 3, false), [3]);
    assert!(why(&kit, 3).contains("An admin has requested a rebuild: the library was miscompiled"));
    kit.plan(plan());
    assert_eq!(build(&mut kit), ["lib-1"]);
    kit.plan(plan());
    assert_eq!(build(&mut kit), [""; 0]);
}

#[test]
fn its_dependants_are_those_that_have_it_installed_while_they_are_built() {
    let mut kit = built_once();
    assert_eq!(rebuild(&mut kit, 3, true), [3, 1]);
    kit.plan(plan());
    assert_eq!(build(&mut kit), ["lib-1", "top-1"]);
}

#[test]
fn what_was_not_built_yet_cannot_be_rebuilt() {
    let mut kit = Kit::new(&["a"]);
    kit.plan(plan());
    let command = Command::Rebuild { package: PackageId(1), dependants: false, reason: String::new() };
    assert!(kit.send(command).unwrap_err().to_string().contains("has not been built yet"));
}

#[test]
fn why_names_what_has_changed_since_the_last_run() {
    let mut kit = built_once();
    let mut plan = plan();
    plan.settings.insert("env.CFLAGS".into(), "-O3".into());
    plan.packages[2].portage_mut().unwrap().use_flags = vec!["zstd".into()];
    plan.packages[2].portage_mut().unwrap().iuse = vec!["zstd".into()];
    kit.plan(plan);
    let text = why(&kit, 7);
    assert!(text.contains("Changed since r1: CFLAGS is `-O3` (was `-O2`); USE +zstd."), "{text}");
}

#[test]
fn why_says_that_nothing_has_changed_of_what_is_taken_over() {
    let mut kit = built_once();
    kit.plan(plan());
    assert!(why(&kit, 5).contains("None of its inputs has changed since r1."), "{}", why(&kit, 5));
}
