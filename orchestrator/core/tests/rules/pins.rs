//! Pinned generations: everything that publishing them again needs stays, however many runs follow.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::{
    channel::{night, plan},
    kit::{Kit, name, report},
    nix,
};
use std::collections::BTreeSet;
use swarm_common::{
    digest::Digest,
    id::{AttemptId, RunId},
    wire::{
        admin::ProfileRequest,
        channel::ChannelName,
        plan::{PlanEdge, PlanReport},
    },
};
use swarm_core::{
    Command, Record, Refusal, Swarm, retention,
    state::{Generation, Profile},
    view,
};

const NIGHTS: u64 = 30;

fn profile<'s>(kit: &'s Kit, of: &str) -> &'s Profile {
    &kit.swarm.profiles[&name(of)]
}

fn generation(kit: &Kit, of: &str, number: u64) -> Option<Generation> {
    profile(kit, of).stable.get(number).cloned()
}

fn numbers(kit: &Kit) -> Vec<u64> {
    profile(kit, "desk").stable.generations.iter().map(|g| g.number).collect()
}

/// Reports that the current generation of the stable channel is published.
fn publish(kit: &mut Kit, of: &str) {
    let current = profile(kit, of).stable.current().unwrap().clone();
    kit.must(Command::RecordGeneration {
        profile: name(of),
        channel: ChannelName::Stable,
        run: current.run,
        generation: current.number,
        packages: current.artifacts.len() as u64,
    });
}

fn pin(of: &str, generation: u64, note: &str) -> Command {
    Command::PinGeneration { profile: name(of), generation, note: note.into() }
}

fn unpin(generation: u64) -> Command {
    Command::UnpinGeneration { profile: name("desk"), generation }
}

fn roll_back(of: &str, generation: u64) -> Command {
    Command::RollBack { profile: name(of), generation: Some(generation) }
}

/// A night after which the desk has these versions of two packages.
fn desk(kit: &mut Kit, version: u64) {
    night(kit, plan(&[&format!("viewer-{version}"), &format!("lib-{version}")], &[(0, 1)]), &[]);
    publish(kit, "desk");
}

/// A swarm that keeps as little as possible, after a number of nights.
fn nights(count: u64) -> Kit {
    let mut kit = Kit::new(&["a", "b"]);
    kit.swarm.policy.keep_runs = 1;
    (1..=count).for_each(|version| desk(&mut kit, version));
    kit
}

/// A night of a Nix profile: a library that stays, a tool that refers to it, and a host that refers to both.
fn hosts(kit: &mut Kit, version: u64) {
    let (tool, system) = (format!("tool-{version}"), format!("system-{version}"));
    let edge =
        |from, to| PlanEdge { from, to, build: true, runtime: false, slot_operator: false, satisfied: false };
    kit.pass(60_000, &[nix::ONE]);
    let run = kit.plan_for(
        "hosts",
        PlanReport {
            packages: vec![
                nix::derivation('0', "lib-1"),
                nix::derivation('f', &tool),
                nix::derivation('a', &system),
            ],
            edges: vec![edge(1, 0), edge(2, 1)],
            roots: vec![
                nix::root("tool", nix::path('f', &tool)),
                nix::root("server", nix::path('a', &system)),
            ],
            ..report(&[], &[])
        },
    );
    let lib = nix::path('0', "lib-1");
    if version == 1 {
        nix::build(kit, &[]);
    }
    nix::build(kit, std::slice::from_ref(&lib));
    nix::build(kit, &[lib, nix::path('f', &tool)]);
    assert!(kit.swarm.runs[&run].state.is_over());
    publish(kit, "hosts");
}

/// The digests of everything stored.
fn stored(kit: &Kit) -> BTreeSet<Digest> {
    retention::artifacts(&kit.swarm, None).into_iter().map(|artifact| artifact.digest).collect()
}

/// Checks that a rollback publishes exactly what `pinned` was, with the records of its builds.
fn returns_to(kit: &mut Kit, of: &str, pinned: &Generation) {
    assert!(!kit.swarm.runs.contains_key(&pinned.run), "its run is forgotten");
    let kept = generation(kit, of, pinned.number).unwrap();
    assert_eq!((&kept.artifacts, &kept.roots), (&pinned.artifacts, &pinned.roots));
    assert!(pinned.artifacts.is_subset(&stored(kit)));
    kit.must(roll_back(of, pinned.number));
    let stable = &profile(kit, of).stable;
    let current = stable.current().unwrap();
    assert_eq!(
        (current.like, &current.artifacts, &current.roots),
        (Some(1), &pinned.artifacts, &pinned.roots)
    );
    let attempts: BTreeSet<AttemptId> =
        current.artifacts.iter().map(|digest| stable.artifacts[digest].attempt).collect();
    assert!(attempts.len() > 1 && attempts.iter().all(|id| kit.swarm.builds.get(*id).is_some()));
    // The new generation is published like any other, and stays while runs follow.
    publish(kit, of);
}

#[test]
fn a_pinned_generation_is_published_again_after_many_nights_and_another_is_gone() {
    let mut kit = nights(2);
    let first = generation(&kit, "desk", 1).unwrap();
    kit.must(pin("desk", 1, "before KDE 6"));
    (3..=2 + NIGHTS).for_each(|version| desk(&mut kit, version));
    assert_eq!(numbers(&kit), [1, NIGHTS + 1, NIGHTS + 2]);
    let refused = kit.send(roll_back("desk", 2)).unwrap_err();
    assert!(matches!(refused, Refusal::UnknownGeneration { generation: Some(2), .. }), "{refused}");
    returns_to(&mut kit, "desk", &first);
    let contents = view::generation(&name("desk"), profile(&kit, "desk"), NIGHTS + 3).unwrap();
    let versions: Vec<_> = contents.packages.iter().map(|p| (&*p.name, &*p.version)).collect();
    assert_eq!(versions, [("app/lib", "1"), ("app/viewer", "1")]);
}

#[test]
fn a_pinned_generation_of_nix_keeps_its_store_paths_and_systems() {
    let mut kit = nix::kit();
    kit.swarm.policy.keep_runs = 1;
    hosts(&mut kit, 1);
    let first = generation(&kit, "hosts", 1).unwrap();
    assert_eq!((first.artifacts.len(), first.roots.len()), (3, 2));
    kit.must(pin("hosts", 1, ""));
    (2..=1 + NIGHTS).for_each(|version| hosts(&mut kit, version));
    returns_to(&mut kit, "hosts", &first);
    let stable = &profile(&kit, "hosts").stable;
    let nars = first.artifacts.iter().map(|digest| stable.artifacts[digest].nar.as_ref().unwrap());
    let references: usize = nars.map(|nar| nar.references.len()).sum();
    assert_eq!(references, 3, "what the narinfos say");
    assert_eq!(stable.current().unwrap().roots[1].root.path, nix::path('a', "system-1"));
}

#[test]
fn an_unpinned_generation_is_dropped_at_once_if_newer_ones_have_taken_its_place() {
    let mut kit = nights(1);
    kit.must(pin("desk", 1, ""));
    (2..=4).for_each(|version| desk(&mut kit, version));
    let first = generation(&kit, "desk", 1).unwrap();
    kit.must(unpin(1));
    assert_eq!(numbers(&kit), [3, 4]);
    assert!(first.artifacts.is_disjoint(&stored(&kit)) && profile(&kit, "desk").pins.is_empty());
    // One that would be kept anyway stays.
    kit.must(pin("desk", 4, ""));
    kit.must(unpin(4));
    assert_eq!(numbers(&kit), [3, 4]);
}

#[test]
fn a_second_pin_replaces_the_note_and_a_repetition_changes_nothing() {
    let mut kit = nights(2);
    kit.must(pin("desk", 1, "old"));
    kit.must(pin("desk", 1, "new"));
    let before = kit.swarm.clone();
    kit.must(pin("desk", 1, "new"));
    assert!(before == kit.swarm);
    let view = view::channel(&name("desk"), profile(&kit, "desk"));
    let pinned = |view: &[swarm_common::wire::channel::GenerationView]| -> Vec<Option<String>> {
        view.iter().map(|generation| generation.pinned.clone()).collect()
    };
    assert_eq!(pinned(&view.generations), [None, Some("new".to_owned())]);
    let contents = view::generation(&name("desk"), profile(&kit, "desk"), 1).unwrap();
    assert_eq!(contents.generation.pinned.as_deref(), Some("new"));
    kit.must(roll_back("desk", 1));
    let view = view::channel(&name("desk"), profile(&kit, "desk"));
    assert_eq!(view.generations[0].pinned, None, "the repetition is another generation");
}

#[test]
fn what_clients_have_not_seen_or_is_not_kept_cannot_be_pinned() {
    let mut kit = nights(4);
    let text = |kit: &mut Kit, command| kit.send(command).unwrap_err().to_string();
    let unknown = "of `desk` is kept, only 3 and 4: see `swarmctl channel show desk`";
    for number in [0, 1, 2, 5] {
        assert_eq!(text(&mut kit, pin("desk", number, "")), format!("no generation {number} {unknown}"));
        assert_eq!(text(&mut kit, unpin(number)), format!("no generation {number} {unknown}"));
    }
    assert_eq!(kit.send(pin("none", 1, "")), Err(Refusal::UnknownProfile(name("none"))));
    assert_eq!(text(&mut kit, unpin(4)), "generation 4 of `desk` is not pinned: no generation of it is");
    kit.must(pin("desk", 3, ""));
    assert_eq!(text(&mut kit, unpin(4)), "generation 4 of `desk` is not pinned: pinned are 3");
    kit.must(roll_back("desk", 3));
    let early = text(&mut kit, pin("desk", 5, ""));
    assert!(early.starts_with("generation 5 of `desk` is not published yet"), "{early}");
    publish(&mut kit, "desk");
    kit.must(pin("desk", 5, ""));

    let request = ProfileRequest { publish: ChannelName::Staging, ..profile(&kit, "desk").request.clone() };
    kit.must(Command::PutProfile { name: name("desk"), request });
    let staged = profile(&kit, "desk").staging.current().unwrap().number;
    let refused = text(&mut kit, pin("desk", staged, ""));
    assert!(refused.contains("is in staging: promote it"), "{refused}");
}

#[test]
fn a_note_is_one_short_line() {
    let mut kit = nights(1);
    for bad in ["two\nlines", "bell\u{7}", "escape\u{1b}[31m", &"ä".repeat(201)] {
        assert!(matches!(kit.send(pin("desk", 1, bad)), Err(Refusal::Invalid(_))), "{bad:?}");
    }
    let longest = "ä".repeat(200);
    kit.must(pin("desk", 1, &longest));
    assert_eq!(profile(&kit, "desk").pins[&1], longest);
}

#[test]
fn a_profile_has_at_most_a_hundred_pins_and_takes_them_with_it() {
    let mut kit = nights(2);
    for number in 1..=100 {
        kit.must(pin("desk", number, ""));
        if number > 1 {
            kit.must(roll_back("desk", number - 1));
            publish(&mut kit, "desk");
        }
    }
    assert_eq!(numbers(&kit).len(), 101);
    let refused = kit.send(pin("desk", 101, "")).unwrap_err().to_string();
    assert!(
        refused.contains("100 generations of `desk` are pinned") && refused.contains("unpin"),
        "{refused}"
    );
    kit.must(pin("desk", 100, "another note is no other pin"));
    kit.must(unpin(1));
    kit.must(pin("desk", 101, ""));
    kit.must(Command::RemoveProfile(name("desk")));
    kit.put_profile("desk", Default::default());
    assert!(profile(&kit, "desk").pins.is_empty());
}

#[test]
fn large_pinned_generations_do_not_shorten_the_list_of_the_others() {
    for pins in [true, false] {
        let mut kit = nights(1);
        kit.swarm.policy.keep_runs = 10;
        if pins {
            kit.must(pin("desk", 1, ""));
        }
        // A plan of this size would take long.
        let stable = &mut kit.swarm.profiles.get_mut(&name("desk")).unwrap().stable;
        let one = stable.artifacts.values().next().unwrap().clone();
        let many = (0..10_000u32).map(|n| Digest::of(&n.to_le_bytes()));
        let many: BTreeSet<Digest> = many.chain(stable.artifacts.keys().copied()).collect();
        stable.artifacts.extend(many.iter().map(|&digest| (digest, one.clone())));
        stable.generations[0].artifacts = many.into();
        (2..=4).for_each(|version| desk(&mut kit, version));
        assert_eq!(numbers(&kit), if pins { &[1, 2, 3, 4][..] } else { &[2, 3, 4] }, "{pins}");
    }
}

#[test]
fn the_journal_and_a_saved_state_have_the_same_pins_and_an_old_state_none() {
    let mut kit = nights(2);
    let saved = |swarm: &Swarm| serde_json::to_value(swarm).unwrap();
    let pins = "/profiles/desk/pins";
    assert_eq!(saved(&kit.swarm).pointer(pins), None, "as an earlier version writes it");
    let mut copy = kit.swarm.clone();
    for command in [pin("desk", 1, "kept"), pin("desk", 2, ""), roll_back("desk", 1), unpin(2)] {
        let request = swarm_core::Request { now: kit.now, entropy: 1, key: None, command };
        let (records, _) = kit.swarm.handle(&request).unwrap();
        for record in records {
            let line = serde_json::to_string(&record).unwrap();
            copy.apply(&serde_json::from_str::<Record>(&line).unwrap());
        }
        let restored: Swarm = serde_json::from_value(saved(&copy)).unwrap();
        assert!(copy.profiles == kit.swarm.profiles && restored.profiles == copy.profiles);
    }
    assert_eq!(saved(&kit.swarm).pointer(pins), Some(&serde_json::json!({ "1": "kept" })));
    assert_eq!(kit.swarm.runs.last_key_value().unwrap().0, &RunId(2));
}
