//! The generations of a stable channel: every change has the next number, including rollbacks, and the
//! content of kept generations stays.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::{
    channel::{night, plan},
    kit::{Kit, name},
};
use swarm_common::{
    id::{PackageId, RunId},
    state::Severity,
    wire::{
        channel::ChannelName,
        concern::{Action, ConcernKind},
    },
};
use swarm_core::{Command, Record, Refusal, Swarm, retention, view};

/// A profile with three generations: `viewer-1` to `viewer-3`.
fn three() -> Kit {
    let mut kit = Kit::new(&["a", "b"]);
    for viewer in ["viewer-1", "viewer-2", "viewer-3"] {
        night(&mut kit, plan(&[viewer, "lib-1"], &[(0, 1)]), &[]);
    }
    kit
}

fn roll_back(kit: &mut Kit, generation: impl Into<Option<u64>>) {
    kit.must(Command::RollBack { profile: name("desk"), generation: generation.into() });
}

fn promote(kit: &mut Kit) {
    kit.must(Command::Promote { profile: name("desk"), generation: None });
}

/// Number of the current generation, the number of the one that it repeats, and its packages.
fn current(kit: &Kit) -> (u64, Option<u64>, String) {
    let stable = &kit.swarm.profiles[&name("desk")].stable;
    let current = stable.current().unwrap();
    let package = |digest| stable.artifacts[digest].target.portage().unwrap().cpv.pf().to_owned();
    let mut packages: Vec<String> = current.artifacts.iter().map(package).collect();
    packages.sort();
    (current.number, current.like, packages.join(" "))
}

fn numbers(kit: &Kit) -> Vec<u64> {
    kit.swarm.profiles[&name("desk")].stable.generations.iter().map(|g| g.number).collect()
}

fn is(number: u64, like: Option<u64>, packages: &str) -> (u64, Option<u64>, String) {
    (number, like, packages.to_owned())
}

#[test]
fn every_change_of_the_channel_is_the_next_generation_and_a_run_without_one_is_none() {
    let mut kit = three();
    assert_eq!((numbers(&kit), current(&kit)), (vec![1, 2, 3], is(3, None, "lib-1 viewer-3")));
    night(&mut kit, plan(&["viewer-3", "lib-1"], &[(0, 1)]), &[]);
    assert_eq!(numbers(&kit), [1, 2, 3]);
}

#[test]
fn a_rollback_is_a_new_generation_and_runs_do_not_move_it_until_it_is_promoted() {
    let mut kit = three();
    roll_back(&mut kit, 1);
    assert_eq!(current(&kit), is(4, Some(1), "lib-1 viewer-1"));
    night(&mut kit, plan(&["viewer-4", "lib-1"], &[(0, 1)]), &[]);
    assert_eq!(current(&kit).0, 4);
    promote(&mut kit);
    assert_eq!(current(&kit), is(5, None, "lib-1 viewer-4"));
    night(&mut kit, plan(&["viewer-5", "lib-1"], &[(0, 1)]), &[]);
    assert_eq!(current(&kit), is(6, None, "lib-1 viewer-5"), "it follows the runs again");
}

#[test]
fn a_package_that_a_rollback_or_a_newer_version_took_away_is_not_called_published() {
    let mut kit = three();
    let why = |kit: &Kit, id: PackageId| view::why(&kit.swarm, kit.now, id).unwrap().lines.join("\n");
    let viewer = |kit: &Kit, run: u64| {
        let is = |id: &&PackageId| kit.swarm.packages[id].title().contains("viewer");
        *kit.swarm.runs[&RunId(run)].packages.iter().find(is).unwrap()
    };
    let [first, last] = [1, 3].map(|run| viewer(&kit, run));
    assert!(why(&kit, last).contains("It is stored and published"), "{}", why(&kit, last));
    let text = why(&kit, first);
    assert!(
        text.contains("generation 3, which is published, does not have it") && text.contains("another"),
        "{text}"
    );
    roll_back(&mut kit, 1);
    assert!(why(&kit, first).contains("It is stored and published"), "{}", why(&kit, first));
    let text = why(&kit, last);
    assert!(
        text.contains("generation 4, which is published, does not have it, as desk was rolled back"),
        "{text}"
    );
    assert!(text.contains("`swarmctl channel promote desk`"), "{text}");
    promote(&mut kit);
    assert!(why(&kit, last).contains("It is stored and published"), "{}", why(&kit, last));
}

#[test]
fn a_promotion_without_a_newer_run_undoes_the_rollback_and_a_second_one_changes_nothing() {
    let mut kit = three();
    roll_back(&mut kit, 2);
    promote(&mut kit);
    assert_eq!(current(&kit), is(5, None, "lib-1 viewer-3"));
    let before = kit.swarm.clone();
    promote(&mut kit);
    assert!(before == kit.swarm);
}

#[test]
fn without_a_number_each_rollback_goes_one_content_further_back() {
    let mut kit = three();
    roll_back(&mut kit, None);
    assert_eq!(current(&kit), is(4, Some(2), "lib-1 viewer-2"));
    roll_back(&mut kit, None);
    assert_eq!(current(&kit), is(5, Some(1), "lib-1 viewer-1"));
    let refused = kit.send(Command::RollBack { profile: name("desk"), generation: None });
    assert!(matches!(refused, Err(Refusal::UnknownGeneration { generation: None, .. })), "{refused:?}");
    // Rolling back to a rollback restores the content of that rollback.
    roll_back(&mut kit, 4);
    assert_eq!(current(&kit), is(6, Some(2), "lib-1 viewer-2"));
}

#[test]
fn a_rollback_to_the_current_content_only_holds_the_channel() {
    let mut kit = three();
    roll_back(&mut kit, 3);
    let before = kit.swarm.clone();
    roll_back(&mut kit, 3);
    assert!(before == kit.swarm, "a repetition changes nothing");
    night(&mut kit, plan(&["viewer-4", "lib-1"], &[(0, 1)]), &[]);
    assert_eq!((numbers(&kit), current(&kit)), (vec![1, 2, 3], is(3, None, "lib-1 viewer-3")));
}

#[test]
fn what_is_unknown_or_not_published_is_refused() {
    let mut kit = Kit::new(&["a"]);
    let back = |profile: &str, generation| Command::RollBack { profile: name(profile), generation };
    let unknown =
        |generation| Refusal::UnknownGeneration { profile: name("desk"), generation, kept: Vec::new() };
    assert_eq!(kit.send(back("desk", None)), Err(unknown(None)));
    assert_eq!(kit.send(back("desk", Some(1))), Err(unknown(Some(1))));
    assert_eq!(kit.send(back("none", None)), Err(Refusal::UnknownProfile(name("none"))));
    assert_eq!(
        kit.send(Command::Promote { profile: name("none"), generation: None }),
        Err(Refusal::UnknownProfile(name("none")))
    );
    promote(&mut kit);
    assert!(numbers(&kit).is_empty());
}

#[test]
fn old_generations_are_dropped_with_what_only_they_had() {
    let mut kit = Kit::new(&["a", "b"]);
    kit.swarm.policy.keep_runs = 3;
    for n in 1..=6 {
        night(&mut kit, plan(&[&format!("viewer-{n}"), "lib-1"], &[(0, 1)]), &[]);
    }
    assert_eq!(numbers(&kit), [4, 5, 6]);
    let stored = |kit: &Kit| {
        let all = retention::artifacts(&kit.swarm, None);
        let mut all: Vec<_> = all.iter().map(|a| a.target.portage().unwrap().cpv.pf().to_owned()).collect();
        all.sort();
        all
    };
    assert_eq!(stored(&kit), ["lib-1", "viewer-4", "viewer-5", "viewer-6"]);
    // A rollback keeps its packages, however many runs follow.
    roll_back(&mut kit, 4);
    for n in 7..=12 {
        night(&mut kit, plan(&[&format!("viewer-{n}"), "lib-1"], &[(0, 1)]), &[]);
    }
    assert_eq!((numbers(&kit), current(&kit)), (vec![5, 6, 7], is(7, Some(4), "lib-1 viewer-4")));
    assert_eq!(
        stored(&kit),
        ["lib-1", "viewer-10", "viewer-11", "viewer-12", "viewer-4", "viewer-5", "viewer-6"]
    );
}

#[test]
fn a_held_channel_is_a_concern_that_a_promotion_resolves() {
    let mut kit = three();
    let concern = |kit: &Kit| {
        let found = view::concerns(&kit.swarm, kit.now, kit.now, &[]);
        found.into_iter().find(|concern| matches!(concern.fact, ConcernKind::ChannelHeld { .. }))
    };
    assert_eq!(concern(&kit), None);
    roll_back(&mut kit, 1);
    let found = concern(&kit).unwrap();
    assert_eq!(
        found.what,
        "the channel of desk is held at generation 4, which has the content of 1; r3 has other packages"
    );
    assert_eq!(
        (found.severity, found.action),
        (Severity::Warning, Some(Action::Promote { profile: name("desk") }))
    );
    promote(&mut kit);
    assert_eq!(concern(&kit), None);
}

#[test]
fn a_view_shows_what_came_and_went_with_each_generation() {
    let mut kit = three();
    roll_back(&mut kit, 1);
    let view = view::channel(&name("desk"), &kit.swarm.profiles[&name("desk")]);
    let row = |g: &swarm_common::wire::channel::GenerationView| (g.number, g.like, g.added, g.removed);
    assert_eq!(
        view.generations.iter().map(row).collect::<Vec<_>>(),
        [
            (4, Some(1), Some(1), Some(1)),
            (3, None, Some(1), Some(1)),
            (2, None, Some(1), Some(1)),
            (1, None, None, None)
        ]
    );
    assert_eq!((view.held, view.staged.unwrap().run.0, view.staged.unwrap().packages), (true, 3, 2));
}

#[test]
fn the_packages_of_every_kept_generation_are_listed() {
    let mut kit = three();
    roll_back(&mut kit, 1);
    let desk = name("desk");
    let contents = |number| view::generation(&desk, &kit.swarm.profiles[&desk], number);
    for (number, viewer) in [(1, "1"), (2, "2"), (3, "3"), (4, "1")] {
        let contents = contents(number).unwrap();
        let packages: Vec<_> =
            contents.packages.iter().map(|p| (p.name.rsplit('/').next().unwrap(), &*p.version)).collect();
        assert_eq!(packages, [("lib", "1"), ("viewer", viewer)], "{number}");
        assert_eq!((contents.generation.number, contents.generation.packages), (number, 2));
        let view = view::channel(&desk, &kit.swarm.profiles[&desk]);
        assert!(view.generations.contains(&contents.generation), "the same as in the list");
    }
    assert_eq!(contents(5), None);
}

#[test]
fn numbers_that_were_published_before_a_restore_are_not_given_again() {
    let mut kit = three();
    let skip = |kit: &mut Kit, last| {
        kit.must(Command::SkipGenerations { profile: name("desk"), channel: ChannelName::Stable, last })
    };
    skip(&mut kit, 7);
    assert_eq!(current(&kit).0, 8, "generations up to 7 may have been seen with other content");
    assert_eq!(current(&kit).2, "lib-1 viewer-3");
    skip(&mut kit, 7);
    assert_eq!(numbers(&kit), [1, 2, 3, 8]);
    roll_back(&mut kit, 1);
    skip(&mut kit, 20);
    assert_eq!(current(&kit), is(21, Some(1), "lib-1 viewer-1"));
    let absurd =
        Command::SkipGenerations { profile: name("desk"), channel: ChannelName::Stable, last: u64::MAX };
    assert!(matches!(kit.send(absurd), Err(Refusal::Invalid(_))));
}

/// The state as older versions wrote it, without generations.
fn of_old(kit: &Kit) -> Swarm {
    let mut saved = serde_json::to_value(&kit.swarm).unwrap();
    saved["profiles"]["desk"]
        .as_object_mut()
        .unwrap()
        .retain(|field, _| !["stable", "staging"].contains(&field.as_str()));
    let mut old: Swarm = serde_json::from_value(saved).unwrap();
    old.policy = kit.swarm.policy.clone();
    old
}

#[test]
fn a_state_or_a_journal_of_an_older_version_goes_on_with_the_next_number() {
    let mut kit = three();
    kit.must(Command::RecordGeneration {
        profile: name("desk"),
        channel: ChannelName::Stable,
        run: swarm_common::id::RunId(3),
        generation: 9,
        packages: 2,
    });
    // At that time, numbers came from the disk.
    kit.swarm = of_old(&kit);
    kit.must(Command::StartOrchestrator);
    assert_eq!((numbers(&kit), current(&kit)), (vec![10], is(10, None, "lib-1 viewer-3")));
    night(&mut kit, plan(&["viewer-4", "lib-1"], &[(0, 1)]), &[]);
    roll_back(&mut kit, None);
    assert_eq!(current(&kit), is(12, Some(10), "lib-1 viewer-3"));
}

#[test]
fn the_journal_and_a_saved_state_lead_to_the_same_generations() {
    let mut kit = three();
    let mut copy = kit.swarm.clone();
    for command in [
        Command::RollBack { profile: name("desk"), generation: Some(2) },
        Command::Promote { profile: name("desk"), generation: None },
        Command::RollBack { profile: name("desk"), generation: None },
    ] {
        let request = swarm_core::Request { now: kit.now, entropy: 1, key: None, command };
        let (records, _) = kit.swarm.handle(&request).unwrap();
        for record in records {
            let line = serde_json::to_string(&record).unwrap();
            copy.apply(&serde_json::from_str::<Record>(&line).unwrap());
        }
        let saved: Swarm = serde_json::from_str(&serde_json::to_string(&copy).unwrap()).unwrap();
        assert!(copy.profiles == kit.swarm.profiles && saved.profiles == copy.profiles);
    }
    assert_eq!(numbers(&kit), [1, 2, 3, 4, 5, 6]);
}
