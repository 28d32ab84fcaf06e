//! The end of a night: sources that cannot be downloaded, what is published of a run at a standstill, and
//! what later runs do not try again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by a panic")]

use crate::kit::{Kit, name, package_of, report, said};
use swarm_common::{id::*, state::*, wire::plan::*};
use swarm_core::{Command, Event, view};

const A: DroneId = DroneId(1);
const B: DroneId = DroneId(2);

fn fail_to_fetch(kit: &mut Kit, drone: DroneId, cause: FailureCause) {
    let got = kit.claim(drone).expect("a drone that has not tried it gets it");
    kit.fail_for(drone, &got, FailureClass::Infra, "x-N.tar.gz", Some(cause));
}

#[test]
fn a_source_that_one_drone_cannot_fetch_is_fetched_by_another_within_seconds() {
    let mut kit = Kit::new(&["a", "b"]);
    kit.run(&["x-1"], &[]);
    fail_to_fetch(&mut kit, A, FailureCause::SourceMissing);
    kit.pass(10_000, &[A, B]);
    kit.swarm.live.waiting.insert(B, kit.now + 10_000);
    assert!(kit.claim(A).is_none(), "it has failed there");
    let got = kit.claim(B).unwrap();
    kit.deliver(B, &got).unwrap();
    assert_eq!((kit.state(1), kit.strikes(A)), (PackageState::Received, 0), "nobody is to blame");
}

#[test]
fn a_source_that_nobody_gives_is_given_up_within_minutes_and_tried_by_the_next_run() {
    let mut kit = Kit::new(&["a", "b"]);
    let run = kit.run(&["x-1"], &[]);
    let began = kit.now;
    fail_to_fetch(&mut kit, A, FailureCause::SourceMissing);
    kit.pass(10_000, &[A, B]);
    fail_to_fetch(&mut kit, B, FailureCause::SourceMissing);
    assert_eq!(kit.state(1), PackageState::Needed, "the network may have been away");
    kit.pass(160_000, &[A, B]);
    fail_to_fetch(&mut kit, A, FailureCause::SourceMissing);
    assert_eq!(kit.state(1), PackageState::Quarantined);
    assert!(kit.now.since(began) < 300_000);
    assert_eq!(kit.swarm.runs[&run].state, RunState::Partial);
    kit.run(&["x-1"], &[]);
    assert_eq!(kit.state(2), PackageState::Needed, "it may be there tomorrow");
}

#[test]
fn a_wrong_digest_is_final_after_two_drones_saw_it_and_blames_neither() {
    let mut kit = Kit::new(&["a", "b"]);
    kit.run(&["x-1"], &[]);
    fail_to_fetch(&mut kit, A, FailureCause::SourceMismatch);
    kit.pass(10_000, &[A, B]);
    fail_to_fetch(&mut kit, B, FailureCause::SourceMismatch);
    assert_eq!(kit.state(1), PackageState::Quarantined);
    assert_eq!((kit.strikes(A), kit.strikes(B)), (0, 0));
}

#[test]
fn what_a_run_has_is_published_while_the_rest_waits_for_another_try() {
    let mut kit = Kit::new(&["a"]);
    let run = kit.run(&["good-1", "lost-1"], &[]);
    let got = kit.claim(A).unwrap();
    kit.deliver(A, &got).unwrap();
    kit.pass(1, &[A]);
    assert_eq!(kit.swarm.runs[&run].to_publish(), None, "there is work that somebody can take");
    fail_to_fetch(&mut kit, A, FailureCause::SourceMissing);
    kit.pass(1, &[A]);
    assert_eq!(kit.swarm.runs[&run].to_publish(), Some(1));
    let held = kit.swarm.profiles[&name("desk")].channel.held.values();
    let held: Vec<&str> = held.map(|h| h.artifact.target.portage().unwrap().cpv.pf()).collect();
    assert_eq!(held, ["good-1"]);
    assert_eq!(kit.swarm.runs[&run].state, RunState::Building, "it goes on");
    let eta = view::run(&kit.swarm, kit.now, run).unwrap().eta.unwrap();
    let waits = kit.swarm.packages[&PackageId(2)].not_before;
    assert!(eta > waits, "the end is not before the next try");
    // Without anything new, nothing is published again.
    let seq = kit.swarm.seq;
    kit.pass(60_000, &[A]);
    assert_eq!(kit.swarm.seq, seq);
}

#[test]
fn a_run_that_goes_on_is_published_at_its_end_only() {
    let mut kit = Kit::new(&["a", "b"]);
    let run = kit.run(&["one-1", "two-1"], &[]);
    let one = kit.claim(A).unwrap();
    kit.deliver(A, &one).unwrap();
    let two = kit.claim(B).unwrap();
    kit.pass(30_000, &[A, B]);
    assert_eq!(kit.swarm.runs[&run].to_publish(), None);
    kit.deliver(B, &two).unwrap();
    assert_eq!(kit.swarm.runs[&run].to_publish(), Some(2));
}

/// A run in which `bad-1` fails twice in the same way on the only drone.
fn broken(kit: &mut Kit) -> RunId {
    let run = kit.run(&["user-1", "bad-1"], &[(0, 1)]);
    for _ in 0..2 {
        kit.pass(10_000, &[A]);
        let got = kit.claim(A).unwrap();
        kit.fail(A, &got, FailureClass::Package, "undeclared");
    }
    run
}

#[test]
fn what_is_broken_is_not_built_again_until_an_input_changes() {
    let mut kit = Kit::new(&["a"]);
    broken(&mut kit);
    let second = kit.run(&["user-1", "bad-1"], &[(0, 1)]);
    assert_eq!(kit.swarm.runs[&second].state, RunState::Partial, "nobody tries it");
    let run = view::run(&kit.swarm, kit.now, second).unwrap();
    assert_eq!(run.held, 1);
    assert!(said(&kit.swarm.packages[&PackageId(4)].reason).contains("same error"));
    let why = view::why(&kit.swarm, kit.now, PackageId(4)).unwrap().lines.join("\n");
    assert!(why.contains("retry it anyway in 7 d") && why.contains("swarmctl retry p4"), "{why}");
    // The ebuild is fixed.
    let mut plan = report(&["user-1", "bad-1"], &[(0, 1)]);
    plan.packages[1].portage_mut().unwrap().inputs = swarm_common::digest::Digest::of(b"mended");
    kit.plan(plan);
    assert_eq!(kit.state(6), PackageState::Needed);
}

#[test]
fn a_change_that_would_rebuild_nothing_good_has_the_broken_tried_again() {
    let mut kit = Kit::new(&["a"]);
    let plan = |eclass: &str| {
        let mut plan = report(&["bad-1"], &[]);
        plan.settings.insert("env.CFLAGS".into(), "-O2".into());
        plan.packages[0].portage_mut().unwrap().strict.insert("eclasses".into(), eclass.into());
        plan
    };
    kit.plan(plan("e1"));
    for _ in 0..2 {
        kit.pass(10_000, &[A]);
        let got = kit.claim(A).unwrap();
        kit.fail(A, &got, FailureClass::Package, "undeclared");
    }
    kit.plan(plan("e1"));
    assert_eq!(kit.state(2), PackageState::Quarantined);
    kit.plan(plan("e2"));
    let key = |id: u64| kit.swarm.packages[&PackageId(id)].build_key;
    assert_eq!(key(2), key(3), "by Gentoo's rule it is the same package");
    assert_eq!(kit.state(3), PackageState::Needed);
}

#[test]
fn what_is_broken_is_tried_again_for_a_person_and_after_a_week() {
    let mut kit = Kit::new(&["a"]);
    broken(&mut kit);
    let second = kit.run(&["user-1", "bad-1"], &[(0, 1)]);
    kit.must(Command::RetryPackage(PackageId(4)));
    assert_eq!(kit.swarm.runs[&second].state, RunState::Building);
    for _ in 0..2 {
        kit.pass(10_000, &[A]);
        let got = kit.claim(A).unwrap();
        kit.fail(A, &got, FailureClass::Package, "undeclared");
    }
    assert_eq!(kit.state(4), PackageState::Quarantined);
    kit.now = kit.now + kit.swarm.policy.quarantine_retry_ms;
    kit.pass(10_000, &[A]);
    let third = kit.run(&["user-1", "bad-1"], &[(0, 1)]);
    let got = kit.claim(A).unwrap();
    kit.fail(A, &got, FailureClass::Package, "undeclared");
    assert_eq!(kit.state(6), PackageState::Quarantined, "the same again is enough");
    assert_eq!(kit.swarm.runs[&third].state, RunState::Partial);
    // 0 means never.
    kit.swarm.policy.quarantine_retry_ms = 0;
    kit.now = kit.now + 1_000_000_000;
    kit.pass(10_000, &[A]);
    kit.run(&["user-1", "bad-1"], &[(0, 1)]);
    assert_eq!(kit.state(8), PackageState::Quarantined);
}

#[test]
fn a_retry_of_what_still_waits_for_another_waits() {
    let mut kit = Kit::new(&["a"]);
    kit.run(&["app-1", "lib-1"], &[(0, 1)]);
    let lib = kit.claim(A).unwrap();
    kit.deliver(A, &lib).unwrap();
    for _ in 0..2 {
        kit.pass(10_000, &[A]);
        let got = kit.claim(A).unwrap();
        kit.fail(A, &got, FailureClass::Package, "undeclared");
    }
    // The library's file must be built again, because it is gone.
    kit.swarm.built.clear();
    kit.run(&["app-1", "lib-1"], &[(0, 1)]);
    assert_eq!((kit.state(3), kit.state(4)), (PackageState::Quarantined, PackageState::Needed));
    kit.must(Command::RetryPackage(PackageId(3)));
    assert_eq!(kit.state(3), PackageState::Blocked);
    let lib = kit.claim(A).unwrap();
    kit.deliver(A, &lib).unwrap();
    assert_eq!(package_of(&kit.claim(A).unwrap()), PackageId(3));
}

#[test]
fn events_of_before_there_was_a_lasting_quarantine_still_apply() {
    let old = r#"{"event":"package_quarantined","package":"p1","reason":"r"}"#;
    let event: Event = serde_json::from_str(old).unwrap();
    assert!(matches!(event, Event::PackageQuarantined { lasting: false, .. }), "{event:?}");
}

#[test]
fn a_drained_drone_that_was_away_gets_nothing_before_it_is_resumed() {
    let mut kit = Kit::new(&["a"]);
    kit.run(&["x-1"], &[]);
    kit.must(Command::DrainDrone(A));
    kit.must(Command::SignOff { drone: A, reason: "restart".into() });
    assert!(kit.claim(A).is_none());
    assert_eq!(kit.heartbeat(A, &[]).state, DroneState::Draining);
    let status = view::status(&kit.swarm, kit.now, kit.now, "1", &[]);
    assert_eq!(status.next_action.as_deref(), Some("swarmctl drone resume a"));
    kit.must(Command::ResumeDrone(A));
    assert!(kit.claim(A).is_some());
}

#[test]
fn a_run_that_waits_for_a_drone_drained_on_its_machine_says_how_to_resume_it_there() {
    let mut kit = Kit::new(&["a"]);
    kit.run(&["x-1"], &[]);
    kit.beat(A, &[], true);
    let concerns = view::concerns(&kit.swarm, kit.now, kit.now, &[]);
    assert!(concerns[0].what.contains("is stalled"), "{concerns:?}");
    assert!(
        concerns[0].next.contains("a was drained on its own machine") && concerns[0].next.contains("USR2"),
        "{concerns:?}"
    );
    kit.beat(A, &[], false);
    assert_eq!(view::concerns(&kit.swarm, kit.now, kit.now, &[]), []);
}

#[test]
fn why_knows_what_the_resolver_refused_and_what_no_client_can_install() {
    let mut kit = Kit::new(&["a"]);
    let mut plan = report(&["viewer-2", "newlib-1"], &[(0, 1)]);
    (plan.edges[0].build, plan.edges[0].runtime) = (false, true);
    plan.problems = vec![PlanProblem {
        kind: ProblemKind::Keyword,
        atoms: vec![">=app/typeset-2:0".into()],
        message: "no version has a keyword of this profile".into(),
        suggestion: Some("app/typeset ~amd64".into()),
    }];
    kit.plan(plan);
    for query in ["typeset", "app/typeset", "app/typeset-2"] {
        let error = view::find(&kit.swarm, query, None).unwrap_err().to_string();
        assert!(error.contains("r1 of desk: the resolver refuses it") && error.contains("~amd64"), "{error}");
    }
    while let Some(got) = kit.claim(A) {
        if package_of(&got) == PackageId(1) {
            kit.deliver(A, &got).unwrap();
        } else {
            kit.fail(A, &got, FailureClass::Package, "undeclared");
        }
        kit.pass(10_000, &[A]);
    }
    let last = |kit: &Kit| view::why(&kit.swarm, kit.now, PackageId(1)).unwrap().lines.pop().unwrap();
    assert!(
        last(&kit).contains("cannot be installed: at run time it needs app/newlib-1 (p2)"),
        "{}",
        last(&kit)
    );
    kit.run(&["other-1"], &[]);
    assert!(last(&kit).contains("The newer run r2 does not plan it: nothing"), "{}", last(&kit));
}
