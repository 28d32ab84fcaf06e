//! What is known about builds whose runs are forgotten.
#![allow(clippy::unwrap_used)] // Tests may use this.

use crate::kit::*;
use swarm_common::{digest::Digest, id::*, state::*, wire::build::BuildView};
use swarm_core::{Command, Swarm, view};

const OAK: DroneId = DroneId(1);

/// A run of these packages in which `oak` builds whatever is not reused.
fn run(kit: &mut Kit, packages: &[&str]) -> RunId {
    let run = kit.run(packages, &[]);
    while let Some(got) = kit.claim(OAK) {
        kit.now = kit.now + 5_000;
        kit.deliver(OAK, &got).unwrap();
    }
    run
}

/// The attempt that built a package of the newest runs.
fn builder(swarm: &Swarm, title: &str) -> AttemptId {
    let package = swarm.packages.values().rfind(|package| package.title() == title).unwrap();
    package.artifacts[0].attempt
}

fn build(kit: &Kit, attempt: AttemptId) -> Option<BuildView> {
    view::build(&kit.swarm, attempt)
}

#[test]
fn who_built_an_artifact_is_known_for_as_long_as_it_is_kept_and_no_longer() {
    let mut kit = Kit::new(&["oak"]);
    kit.swarm.policy.keep_runs = 1;
    let first = run(&mut kit, &["old-1", "same-1"]);
    let (old, same) = (builder(&kit.swarm, "app/old-1"), builder(&kit.swarm, "app/same-1"));
    let [before_old, before] = [old, same].map(|attempt| build(&kit, attempt).unwrap());
    assert_eq!((before.run, before.attempt, before.drone), (first, same, OAK));
    assert_eq!((before.profile.as_str(), before.drone_name.as_str()), ("desk", "oak"));
    assert_eq!(before.snapshot, Digest::of(b"snapshot"));
    assert_eq!(before.received_at.since(before.started_at), 5_000);
    assert_eq!(before.usage.unwrap().wall_ms, 10_000);
    assert!(before.phases.contains_key(&Phase::Assigned));

    // Its run is forgotten, but a channel and a later run have its artifact.
    let second = run(&mut kit, &["old-2", "same-1"]);
    assert!(!kit.swarm.runs.contains_key(&first) && !kit.swarm.attempts.contains_key(&same));
    assert_eq!(build(&kit, same).as_ref(), Some(&before));
    assert_eq!(build(&kit, old).as_ref(), Some(&before_old), "the generation before has it");
    let reused = *kit.swarm.runs[&second].packages.last().unwrap();
    assert!(kit.swarm.packages[&reused].reused);
    assert_eq!(view::package(&kit.swarm, kit.now, reused).unwrap().builds, std::slice::from_ref(&before));

    // A checkpoint contains it, and a checkpoint of an older version can be read.
    let mut saved = serde_json::to_value(&kit.swarm).unwrap();
    let read: Swarm = serde_json::from_value(saved.clone()).unwrap();
    assert_eq!(view::build(&read, same).as_ref(), Some(&before));
    saved.as_object_mut().unwrap().remove("builds").unwrap();
    let read: Swarm = serde_json::from_value(saved).unwrap();
    assert_eq!(view::build(&read, same), None);
    let newest = builder(&read, "app/old-2");
    assert_eq!(view::build(&read, newest).map(|build| build.run), Some(second), "its run is kept");

    // No generation contains the artifact any more.
    run(&mut kit, &["old-3", "same-1"]);
    assert_eq!(build(&kit, old), None);
    assert_eq!(build(&kit, same).as_ref(), Some(&before));

    // Removing the profile removes its artifacts.
    kit.must(Command::RemoveProfile(name("desk")));
    assert_eq!(build(&kit, same), None);
    assert!(kit.swarm.builds == Default::default());
}

#[test]
fn what_was_not_accepted_is_no_build() {
    let mut kit = Kit::new(&["oak"]);
    kit.run(&["x-1"], &[]);
    let got = kit.claim(OAK).unwrap();
    assert_eq!(build(&kit, got.attempt), None);
    kit.fail(OAK, &got, FailureClass::Infra, "no route");
    assert_eq!(build(&kit, got.attempt), None);
    assert_eq!(build(&kit, AttemptId(99)), None);
}

#[test]
fn an_attempt_that_a_killed_drone_reports_is_lost_wherever_it_is_shown() {
    let mut kit = Kit::new(&["oak"]);
    kit.run(&["x-1"], &[]);
    let got = kit.claim(OAK).unwrap();
    kit.fail(OAK, &got, FailureClass::Lost, "the drone exited during the build");
    assert_eq!(history(&kit, "x"), [(got.attempt.0, Some(AttemptOutcome::Lost))]);
    let package = view::package(&kit.swarm, kit.now, package_of(&got)).unwrap();
    assert_eq!(package.attempts[0].outcome.as_deref(), Some(AttemptOutcome::Lost.word()));
}

/// The attempts that match a query and how they ended, newest first.
fn history(kit: &Kit, query: &str) -> Vec<(u64, Option<AttemptOutcome>)> {
    view::history(&kit.swarm, query).iter().map(|row| (row.attempt.0, row.outcome)).collect()
}

#[test]
fn attempts_are_known_after_their_run_is_forgotten_until_they_are_too_old() {
    let mut kit = Kit::new(&["oak"]);
    kit.swarm.policy.keep_runs = 1;
    let first = kit.run(&["x-1", "y-1"], &[]);
    let got = kit.claim(OAK).unwrap();
    assert_eq!(view::history(&kit.swarm, "x")[0].outcome, None, "it is under way");
    kit.now = kit.now + 7_000;
    kit.fail(OAK, &got, FailureClass::Infra, &"no route ".repeat(50));
    kit.pass(700_000, &[OAK]);
    while let Some(got) = kit.claim(OAK) {
        kit.deliver(OAK, &got).unwrap();
    }
    let before = view::history(&kit.swarm, "app/x");
    assert_eq!(before.len(), 2);

    run(&mut kit, &["x-2"]);
    assert!(!kit.swarm.runs.contains_key(&first));
    let known = view::history(&kit.swarm, "app/x");
    assert_eq!((known.len(), &known[1]), (3, &before[0]), "as before its run was forgotten");
    let failed = &known[2];
    assert_eq!((failed.run, failed.profile.as_str(), failed.drone_name.as_str()), (first, "desk", "oak"));
    assert_eq!((failed.name.as_str(), failed.version.as_str()), ("app/x", "1"));
    assert_eq!((failed.outcome, failed.class), (Some(AttemptOutcome::Failed), Some(FailureClass::Infra)));
    assert_eq!(failed.ended_at.unwrap().since(failed.started_at), 7_000);
    assert_eq!(failed.error.as_ref().unwrap().chars().count(), 120);
    for (query, attempts) in
        [("x", 3), ("x-1", 2), ("app/x-2", 1), ("app/y", 1), ("app/x-3", 0), ("app", 0), ("p3", 3)]
    {
        assert_eq!(history(&kit, query).len(), attempts, "{query}");
    }

    // A checkpoint contains them, and a checkpoint of an older version can be read.
    let mut saved = serde_json::to_value(&kit.swarm).unwrap();
    let read: Swarm = serde_json::from_value(saved.clone()).unwrap();
    assert_eq!(view::history(&read, "x"), known);
    saved.as_object_mut().unwrap().remove("past").unwrap();
    let read: Swarm = serde_json::from_value(saved).unwrap();
    assert_eq!(view::history(&read, "x"), known[..1]);

    kit.now = kit.now + kit.swarm.policy.keep_history_ms;
    run(&mut kit, &["y-2"]);
    assert_eq!(history(&kit, "app/x"), []);
    assert_eq!(history(&kit, "app/y").len(), 1);
    kit.swarm.policy.keep_history_ms = 0;
    run(&mut kit, &["z-1"]);
    assert_eq!(history(&kit, "app/y"), []);
}

#[test]
fn of_each_package_a_limited_number_of_attempts_is_kept() {
    let mut kit = Kit::new(&["oak"]);
    kit.swarm.policy.keep_runs = 1;
    for n in 0..30 {
        run(&mut kit, &[&format!("x-{n}")]);
    }
    let known = history(&kit, "x");
    assert_eq!(known.len(), 21, "of forgotten runs 20, and that of the last");
    assert!(known.is_sorted_by(|a, b| a > b), "the newest: {known:?}");
}

#[test]
fn ended_runs_with_very_many_dependencies_are_forgotten_early_and_the_last_one_stays() {
    let mut kit = Kit::new(&["a"]);
    let names: Vec<String> = (0..2_001).map(|n| format!("p{n}-1")).collect();
    let packages: Vec<&str> = names.iter().map(String::as_str).collect();
    let edges: Vec<(u32, u32)> = (60..2_001).flat_map(|n| (1..=60).map(move |by| (n, n - by))).collect();
    let runs: Vec<RunId> = (0..4)
        .map(|_| {
            kit.pass(60_000, &[DroneId(1)]);
            let run = kit.run(&packages, &edges);
            kit.must(Command::CancelRun(run));
            run
        })
        .collect();
    let kept: Vec<RunId> = kit.swarm.runs.keys().copied().collect();
    assert_eq!(kept, runs[2..], "each has 116,460");
}
