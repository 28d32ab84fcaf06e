//! What is rebuilt, and what is reused from which profile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by a panic")]

use crate::kit::{Kit, name, report};
use swarm_common::{
    digest::Digest,
    id::*,
    state::*,
    wire::{
        admin::Rebuild,
        drone::Work,
        plan::{Live, PlanReport},
    },
};

const A: DroneId = DroneId(1);

/// `top` is built with `lib`. Both have key fields.
fn plan() -> PlanReport {
    let mut plan = report(&["top-1", "lib-1"], &[(0, 1)]);
    plan.settings.insert("env.CFLAGS".into(), "-O2".into());
    for package in plan.packages.iter_mut().filter_map(|package| package.portage_mut()) {
        package.fields.insert("distfiles".into(), "d1".into());
        package.strict.insert("ebuild".into(), "e1".into());
    }
    plan
}

/// Builds everything that is needed. Returns the names and build IDs of the built packages.
fn build(kit: &mut Kit) -> Vec<(String, u32)> {
    let mut built = Vec::new();
    while let Some(got) = kit.claim(A) {
        let Work::Build(order) = &got.work else { panic!("{got:?}") };
        built.extend(
            order
                .targets
                .iter()
                .map(|t| (t.portage().unwrap().cpv.pf().to_owned(), t.portage().unwrap().build_id)),
        );
        kit.deliver(A, &got).unwrap();
    }
    built
}

/// What a second run builds after the plan has changed since the first one.
fn built_after(rule: Rebuild, change: impl FnOnce(&mut PlanReport)) -> Vec<String> {
    let mut kit = Kit::new(&["a"]);
    kit.put_profile("desk", rule);
    kit.plan(plan());
    assert_eq!(build(&mut kit).len(), 2);
    let mut plan = plan();
    change(&mut plan);
    kit.plan(plan);
    build(&mut kit).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn by_gentoos_rule_the_text_of_an_ebuild_rebuilds_nothing() {
    let edit = |plan: &mut PlanReport| {
        plan.packages[1].portage_mut().unwrap().strict.insert("ebuild".into(), "e2".into());
        plan.packages[1].portage_mut().unwrap().inputs = Digest::of(b"e2");
        plan.toolchain = Digest::of(b"gcc 15.2.1");
    };
    assert_eq!(built_after(Rebuild::Gentoo, edit), [""; 0]);
}

#[test]
fn by_the_strict_rule_it_rebuilds_the_package_and_what_is_built_with_it() {
    let edit = |plan: &mut PlanReport| {
        plan.packages[1].portage_mut().unwrap().strict.insert("ebuild".into(), "e2".into());
    };
    assert_eq!(built_after(Rebuild::Strict, edit), ["lib-1", "top-1"]);
}

#[test]
fn a_field_of_a_package_rebuilds_it_alone_and_a_setting_everything() {
    let patch = |plan: &mut PlanReport| {
        plan.packages[1].portage_mut().unwrap().fields.insert("patches".into(), "p1".into());
    };
    assert_eq!(built_after(Rebuild::Gentoo, patch), ["lib-1"]);
    let setting = |plan: &mut PlanReport| {
        plan.settings.insert("env.GOAMD64".into(), "v3".into());
    };
    assert_eq!(built_after(Rebuild::Gentoo, setting), ["lib-1", "top-1"]);
}

#[test]
fn what_all_packages_have_in_common_by_chance_is_no_other_package() {
    let moved = |plan: &mut PlanReport| {
        let (name, value) = plan.settings.pop_first().unwrap();
        plan.settings.insert("abi.chost".into(), "x".into());
        for package in plan.packages.iter_mut().filter_map(|package| package.portage_mut()) {
            package.fields.insert(name.clone(), value.clone());
        }
    };
    // Only a new setting is a difference.
    assert_eq!(built_after(Rebuild::Gentoo, moved).len(), 2);
    let moved = |plan: &mut PlanReport| {
        for package in plan.packages.iter_mut().filter_map(|package| package.portage_mut()) {
            package.fields.insert("env.CFLAGS".into(), "-O2".into());
        }
    };
    assert_eq!(built_after(Rebuild::Gentoo, moved), [""; 0]);
}

#[test]
fn a_run_time_binding_to_another_sub_slot_rebuilds_and_a_plain_need_does_not() {
    for (bound, expected) in [(true, vec!["lib-1", "top-1"]), (false, vec!["lib-1"])] {
        let mut kit = Kit::new(&["a"]);
        let plan = |subslot: &str| {
            let mut plan = plan();
            (plan.edges[0].build, plan.edges[0].runtime, plan.edges[0].slot_operator) = (false, true, bound);
            plan.packages[1].portage_mut().unwrap().subslot = subslot.into();
            plan
        };
        kit.plan(plan("1"));
        build(&mut kit);
        kit.plan(plan("2"));
        let mut built: Vec<String> = build(&mut kit).into_iter().map(|(name, _)| name).collect();
        built.sort();
        assert_eq!(built, expected);
    }
}

#[test]
fn an_identical_second_profile_builds_nothing_and_no_path_gets_other_bytes() {
    let mut kit = Kit::new(&["a"]);
    kit.put_profile("attic", Rebuild::Gentoo);
    kit.plan(plan());
    build(&mut kit);
    let run = kit.plan_for("attic", plan());
    assert_eq!((kit.swarm.runs[&run].state, kit.swarm.runs[&run].reused), (RunState::Succeeded, 2));
    // Its own builds get a new name, which the other profile sees too.
    let mut other = plan();
    other.packages[1].portage_mut().unwrap().fields.insert("patches".into(), "p1".into());
    kit.plan_for("attic", other.clone());
    assert_eq!(build(&mut kit), [("lib-1".to_owned(), 2)]);
    other.packages[1].portage_mut().unwrap().fields.insert("patches".into(), "p2".into());
    kit.plan(other);
    assert_eq!(build(&mut kit), [("lib-1".to_owned(), 3)]);
}

#[test]
fn what_one_profile_built_stays_while_another_uses_it() {
    let mut kit = Kit::new(&["a"]);
    kit.put_profile("attic", Rebuild::Gentoo);
    kit.plan(plan());
    build(&mut kit);
    kit.plan_for("attic", plan());
    kit.must(swarm_core::Command::RemoveProfile(name("desk")));
    assert_eq!(kit.swarm.built.len(), 2);
    kit.plan_for("attic", plan());
    assert_eq!(build(&mut kit), []);
    kit.must(swarm_core::Command::RemoveProfile(name("attic")));
    assert!(kit.swarm.built.is_empty() && kit.swarm.inputs.is_empty() && kit.swarm.settings.is_empty());
}

#[test]
fn of_two_profiles_under_way_at_once_one_builds_for_both() {
    let mut kit = Kit::new(&["a"]);
    kit.put_profile("attic", Rebuild::Gentoo);
    kit.plan(plan());
    let run = kit.plan_for("attic", plan());
    assert_eq!(build(&mut kit), [("lib-1".to_owned(), 1), ("top-1".to_owned(), 1)]);
    assert_eq!(kit.swarm.runs[&run].state, RunState::Succeeded);
}

#[test]
fn what_another_profile_has_built_is_taken_over_as_far_as_the_index_has_room() {
    let mut kit = Kit::new(&["a"]);
    kit.put_profile("attic", Rebuild::Gentoo);
    kit.plan(plan());
    assert_eq!(build(&mut kit).len(), 2);
    // One entry of the kit has a thousand bytes.
    kit.swarm.policy.index_bytes = 1999;
    let run = kit.plan_for("attic", plan());
    assert_eq!(kit.swarm.runs[&run].reused, 1);
    assert_eq!(build(&mut kit).len(), 1);
    // What is already in its index takes no additional space.
    let run = kit.plan_for("attic", plan());
    assert_eq!((kit.swarm.runs[&run].reused, build(&mut kit)), (2, vec![]));
    // Nor does an artifact that arrives while both runs are active.
    kit.swarm.policy.index_bytes = 0;
    let mut other = plan();
    for package in other.packages.iter_mut().filter_map(|package| package.portage_mut()) {
        package.fields.insert("patches".into(), "other".into());
    }
    kit.plan(other.clone());
    let run = kit.plan_for("attic", other);
    build(&mut kit);
    assert_eq!(kit.swarm.runs[&run].reused, 0);
}

#[test]
fn a_live_package_is_rebuilt_for_another_commit_and_otherwise_by_age() {
    let live = |commit: Option<&str>| {
        let mut plan = plan();
        plan.packages[0].portage_mut().unwrap().live = Some(Live { commit: commit.map(str::to_owned) });
        plan
    };
    let mut kit = Kit::new(&["a"]);
    kit.swarm.policy.live_max_age_ms = 600_000;
    kit.plan(live(Some("c1")));
    assert_eq!(build(&mut kit).len(), 2);
    kit.plan(live(Some("c1")));
    assert_eq!(build(&mut kit), []);
    kit.plan(live(Some("c2")));
    assert_eq!(build(&mut kit).len(), 1);
    // Its upstream does not answer.
    kit.plan(live(None));
    assert_eq!(build(&mut kit).len(), 1);
    kit.pass(540_000, &[A]);
    let run = kit.plan(live(None));
    assert_eq!(build(&mut kit), []);
    let top = kit.swarm.runs[&run].packages[0];
    let why = swarm_core::explain::reason(&kit.swarm, kit.now, top);
    assert!(why.ends_with("the commit of its upstream is unknown, so it is rebuilt after 10 min"), "{why}");
    kit.pass(60_000, &[A]);
    kit.plan(live(None));
    assert_eq!(build(&mut kit).len(), 1);
}

#[test]
fn a_report_with_endless_fields_is_refused() {
    let mut plan = plan();
    plan.packages[0].portage_mut().unwrap().fields.insert("depend".into(), "x".repeat(1 << 20));
    assert!(swarm_core::plan::check(&plan).unwrap_err().contains("fields of app/top-1"));
}
