//! What is known of builds whose runs are forgotten.
#![allow(clippy::unwrap_used)] // A test may unwrap.

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

    // Its run is forgotten; a channel and a later run have its artifact.
    let second = run(&mut kit, &["old-2", "same-1"]);
    assert!(!kit.swarm.runs.contains_key(&first) && !kit.swarm.attempts.contains_key(&same));
    assert_eq!(build(&kit, same).as_ref(), Some(&before));
    assert_eq!(build(&kit, old).as_ref(), Some(&before_old), "the generation before has it");
    let reused = *kit.swarm.runs[&second].packages.last().unwrap();
    assert!(kit.swarm.packages[&reused].reused);
    assert_eq!(view::package(&kit.swarm, kit.now, reused).unwrap().builds, std::slice::from_ref(&before));

    // A checkpoint has it, and one of an older version is read.
    let mut saved = serde_json::to_value(&kit.swarm).unwrap();
    let read: Swarm = serde_json::from_value(saved.clone()).unwrap();
    assert_eq!(view::build(&read, same).as_ref(), Some(&before));
    saved.as_object_mut().unwrap().remove("builds").unwrap();
    let read: Swarm = serde_json::from_value(saved).unwrap();
    assert_eq!(view::build(&read, same), None);
    let newest = builder(&read, "app/old-2");
    assert_eq!(view::build(&read, newest).map(|build| build.run), Some(second), "its run is kept");

    // No generation has the artifact any more.
    run(&mut kit, &["old-3", "same-1"]);
    assert_eq!(build(&kit, old), None);
    assert_eq!(build(&kit, same).as_ref(), Some(&before));

    // With the profile its artifacts go.
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
