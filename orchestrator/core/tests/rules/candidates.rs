//! Candidates: content to which a profile switches only if a run with it provides everything that is served
//! now.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::{
    kit::{Kit, name, report},
    nix::{ONE, at, build, kit, path, root, world},
};
use swarm_common::{
    digest::Digest,
    id::*,
    state::*,
    wire::{
        admin::CandidateRequest,
        concern::{Action, Concern, ConcernKind},
        plan::{PlanProblem, PlanReport, ProblemKind},
    },
};
use swarm_core::{Command, Refusal, view};

fn content(source: &str) -> CandidateRequest {
    CandidateRequest { snapshot: Digest::of(source.as_bytes()), source: source.into() }
}

fn offer(kit: &mut Kit, source: &str) {
    kit.must(Command::OfferCandidate { profile: name("hosts"), candidate: content(source) });
}

/// The current source of the profile.
fn source(kit: &Kit) -> String {
    kit.swarm.profiles[&name("hosts")].request.source.clone()
}

/// How many generations the profile has.
fn generations(kit: &Kit) -> usize {
    kit.swarm.profiles[&name("hosts")].stable.generations.len()
}

fn refused(kit: &Kit) -> Option<Concern> {
    let all = view::concerns(&kit.swarm, kit.now, kit.now, &[]);
    all.into_iter().find(|concern| matches!(concern.fact, ConcernKind::CandidateRefused { .. }))
}

/// A profile that serves the world, with the source `a test`.
fn serving() -> (Kit, RunId) {
    let mut kit = kit();
    let run = kit.plan_for("hosts", world('a'));
    (0..3).for_each(|_| _ = build(&mut kit, &[]));
    (kit, run)
}

/// A plan in which an attribute of the world could not be evaluated.
fn broken(attribute: &str) -> PlanReport {
    let mut plan = world('b');
    plan.roots.retain(|root| root.attribute != attribute);
    plan.problems.push(PlanProblem {
        kind: ProblemKind::Evaluation,
        atoms: vec![attribute.into()],
        message: "\nerror: attribute 'hostName' missing\n  at flake.nix:3".into(),
        suggestion: None,
    });
    plan
}

/// Builds everything that a run still needs.
fn finish(kit: &mut Kit, run: RunId) {
    while !kit.swarm.runs[&run].state.is_over() {
        build(kit, &[]);
    }
}

/// Lets all builds of a run fail until it ends.
fn fail(kit: &mut Kit, run: RunId) {
    while !kit.swarm.runs[&run].state.is_over() {
        if let Some(got) = kit.claim(ONE) {
            kit.fail(ONE, &got, FailureClass::Package, "error: no");
        }
        kit.pass(60_000, &[ONE]);
    }
}

#[test]
fn one_that_serves_everything_is_taken_and_nothing_of_it_is_published_before() {
    let (mut kit, first) = serving();
    offer(&mut kit, "new");
    let waiting = &view::profile(&name("hosts"), &kit.swarm.profiles[&name("hosts")]).candidates[0];
    assert_eq!((waiting.source.as_str(), waiting.run), ("new", None));
    let run = kit.plan_for("hosts", world('b'));
    assert_eq!(kit.swarm.runs[&run].snapshot, Digest::of(b"new"));
    build(&mut kit, &[]);
    // The run is at a standstill: any other run would be published partially.
    let got = kit.claim(ONE).unwrap();
    kit.fail(ONE, &got, FailureClass::Package, "error: not yet");
    kit.pass(30_000, &[ONE]);
    assert_eq!((source(&kit), generations(&kit)), ("a test".into(), 1));
    assert_eq!(at(&kit, "tool"), Some((path('f', "tool-2"), first)));
    let why = view::why(&kit.swarm, kit.now, PackageId(5)).unwrap().lines.join("\n");
    assert!(why.contains("published if hosts switches to the content of r2"), "{why}");
    while !kit.swarm.runs[&run].state.is_over() {
        kit.pass(60_000, &[ONE]);
        if let Some(got) = kit.claim(ONE) {
            kit.deliver(ONE, &got).unwrap();
        }
    }
    assert_eq!((source(&kit), generations(&kit)), ("new".into(), 2));
    assert_eq!(at(&kit, "server"), Some((path('b', "system"), run)));
    assert!(kit.swarm.profiles[&name("hosts")].candidates.is_empty() && refused(&kit).is_none());
}

// fault: 63
#[test]
fn one_that_does_not_evaluate_is_refused_and_named_until_another_is_taken() {
    let (mut kit, first) = serving();
    offer(&mut kit, "bad");
    let run = kit.plan_for("hosts", broken("server"));
    finish(&mut kit, run);
    assert_eq!(kit.swarm.runs[&run].state, RunState::Partial);
    assert_eq!((source(&kit), generations(&kit)), ("a test".into(), 1));
    assert_eq!(
        at(&kit, "tool"),
        Some((path('f', "tool-2"), first)),
        "none of it, as it was not tried together"
    );
    let concern = refused(&kit).unwrap();
    let why = "hosts stays at a test: r2 could not serve all of bad: server cannot be evaluated: error: attribute \
               'hostName' missing";
    assert_eq!((concern.what.as_str(), &concern.action), (why, &Some(Action::ShowRun { run })));
    let why = view::why(&kit.swarm, kit.now, PackageId(5)).unwrap().lines.join("\n");
    assert!(why.contains("not published, as hosts did not switch to the content of r2"), "{why}");

    // The next run uses the old content and changes nothing about this.
    let old = kit.plan_for("hosts", world('a'));
    assert_eq!(kit.swarm.runs[&old].snapshot, Digest::of(b"flake"));
    assert_eq!((kit.swarm.runs[&old].state, generations(&kit)), (RunState::Succeeded, 1));
    assert!(refused(&kit).is_some());
    offer(&mut kit, "good");
    assert!(refused(&kit).is_some());
    let run = kit.plan_for("hosts", world('b'));
    finish(&mut kit, run);
    assert_eq!((source(&kit), refused(&kit)), ("good".into(), None));
}

// fault: 63
#[test]
fn one_that_cannot_be_built_is_refused_with_the_package_and_taken_when_a_retry_mends_it() {
    let (mut kit, _) = serving();
    offer(&mut kit, "bad");
    let run = kit.plan_for("hosts", world('b'));
    fail(&mut kit, run);
    let text = refused(&kit).unwrap().what;
    assert!(text.contains("cannot be built: tool-2: ") && text.contains("error: no"), "{text}");
    assert_eq!(source(&kit), "a test");
    let package = *kit.swarm.runs[&run].packages.get(1).unwrap();
    kit.must(Command::RetryPackage(package));
    assert!(refused(&kit).is_some());
    finish(&mut kit, run);
    assert_eq!((source(&kit), refused(&kit)), ("bad".into(), None));
    assert_eq!(at(&kit, "server"), Some((path('b', "system"), run)));
}

#[test]
fn what_failed_before_may_fail_again_and_what_is_removed_or_new_does_not_count() {
    let (mut kit, _) = serving();
    let run = kit.plan_for("hosts", broken("server"));
    finish(&mut kit, run);
    offer(&mut kit, "no worse");
    let mut plan = broken("server");
    plan.roots.clear();
    plan.roots.push(root("other", path('k', "other-1")));
    plan.problems[0].atoms.push("added".into());
    let run = kit.plan_for("hosts", plan);
    finish(&mut kit, run);
    assert_eq!((source(&kit), refused(&kit)), ("no worse".into(), None));
    assert!(at(&kit, "server").is_some() && at(&kit, "tool").is_none());
}

#[test]
fn one_without_a_plan_is_refused_and_a_cancelled_run_leaves_it_to_the_next() {
    let (mut kit, _) = serving();
    offer(&mut kit, "bad");
    let run = kit.plan_for("hosts", world('b'));
    kit.must(Command::CancelRun(run));
    assert_eq!(kit.swarm.profiles[&name("hosts")].next_snapshot(), Digest::of(b"bad"));
    assert!(refused(&kit).is_none());
    kit.pass(60_000, &[ONE]);
    let class = RunClass::Nightly;
    kit.must(Command::StartRun { profile: name("hosts"), class });
    while kit.swarm.runs.values().any(|run| !run.state.is_over()) {
        if let Some(got) = kit.claim(ONE) {
            kit.fail(ONE, &got, FailureClass::Package, "error: syntax");
        }
        kit.pass(600_000, &[ONE]);
    }
    let text = refused(&kit).unwrap().what;
    assert!(text.contains("the plan failed") && text.contains("error: syntax"), "{text}");
}

#[test]
fn the_newest_one_is_tried_next_while_the_one_before_is_decided() {
    let (mut kit, _) = serving();
    offer(&mut kit, "one");
    let run = kit.plan_for("hosts", world('b'));
    offer(&mut kit, "two");
    offer(&mut kit, "three");
    finish(&mut kit, run);
    assert_eq!(source(&kit), "one");
    let run = kit.plan_for("hosts", world('b'));
    assert_eq!(kit.swarm.runs[&run].state, RunState::Succeeded);
    assert_eq!(source(&kit), "three");
}

#[test]
fn a_source_that_none_can_be_made_of_is_named_until_one_is_taken() {
    let (mut kit, _) = serving();
    let failed = Command::ReportNoCandidate {
        profile: name("hosts"),
        source: "git+https://host/config".into(),
        why: "git: fatal: repository not found".into(),
    };
    kit.must(failed.clone());
    let seq = kit.swarm.seq;
    kit.must(failed);
    assert_eq!(kit.swarm.seq, seq, "nothing is journaled twice");
    let concern = refused(&kit).unwrap();
    let what = "hosts stays at a test: there is no candidate from git+https://host/config: git: fatal: repository not \
                found";
    assert_eq!((concern.what.as_str(), &concern.action), (what, &None));
    assert!(concern.next.contains("`swarmctl profile update`"), "{}", concern.next);
    kit.plan_for("hosts", world('a'));
    assert!(refused(&kit).is_some(), "an ordinary run does not show that it can be fetched");
    // It can be fetched again and equals the pinned content.
    let pinned = CandidateRequest { snapshot: Digest::of(b"flake"), source: "a test".into() };
    kit.must(Command::OfferCandidate { profile: name("hosts"), candidate: pinned });
    kit.plan_for("hosts", world('a'));
    assert_eq!(refused(&kit), None);
}

#[test]
fn an_admins_own_choice_ends_all_candidates() {
    let (mut kit, _) = serving();
    let own = kit.swarm.profiles[&name("hosts")].request.clone();
    for state in ["waits", "is tried", "was refused"] {
        offer(&mut kit, state);
        let run = (state != "waits").then(|| kit.plan_for("hosts", broken("server")));
        if state == "was refused" {
            finish(&mut kit, run.unwrap());
        }
        kit.must(Command::PutProfile { name: name("hosts"), request: own.clone() });
        assert!(kit.swarm.profiles[&name("hosts")].candidates.is_empty(), "{state}");
        if let Some(run) = run {
            finish(&mut kit, run);
        }
        assert_eq!((source(&kit), generations(&kit), refused(&kit)), ("a test".into(), 1, None), "{state}");
    }
}

#[test]
fn what_is_known_is_not_offered_again_and_a_portage_profile_needs_none() {
    let (mut kit, _) = serving();
    let pinned = Command::OfferCandidate {
        profile: name("hosts"),
        candidate: CandidateRequest { snapshot: Digest::of(b"flake"), source: "a test".into() },
    };
    kit.must(pinned.clone());
    assert!(kit.swarm.profiles[&name("hosts")].candidates.is_empty(), "it is pinned");
    offer(&mut kit, "bad");
    let run = kit.plan_for("hosts", broken("server"));
    offer(&mut kit, "bad");
    assert_eq!(kit.swarm.profiles[&name("hosts")].candidates.offered, None, "it is tried");
    finish(&mut kit, run);
    // The source is again what it was.
    kit.must(pinned);
    kit.plan_for("hosts", world('a'));
    assert_eq!(refused(&kit), None);

    let portage = Command::OfferCandidate { profile: name("desk"), candidate: content("x") };
    let refusal = kit.send(portage).unwrap_err().to_string();
    assert!(refusal.contains("keeps the working version of each package"), "{refusal}");
    let none = Command::OfferCandidate { profile: name("none"), candidate: content("x") };
    assert!(matches!(kit.send(none), Err(Refusal::UnknownProfile(_))));
}

#[test]
fn the_run_that_is_served_is_kept_however_many_are_refused() {
    let (mut kit, first) = serving();
    for n in 0..kit.swarm.policy.keep_runs + 3 {
        offer(&mut kit, &format!("bad {n}"));
        let mut plan = report(&[], &[]);
        plan.problems.clone_from(&broken("server").problems);
        kit.plan_for("hosts", plan);
    }
    assert!(kit.swarm.runs.contains_key(&first) && kit.swarm.runs.len() <= kit.swarm.policy.keep_runs + 1);
    offer(&mut kit, "good");
    let run = kit.plan_for("hosts", world('a'));
    assert_eq!(kit.swarm.runs[&run].reused, 3);
}
