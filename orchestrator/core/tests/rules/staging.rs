//! Profiles that publish to staging: results of runs wait there, and stable stays unchanged until a
//! generation is promoted.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::{
    channel::{night, plan},
    kit::{Kit, name},
};
use swarm_common::{
    id::RunId,
    wire::{
        admin::ProfileRequest,
        channel::{ChannelName, StagedStatus},
    },
};
use swarm_core::{Command, Record, Refusal, Swarm, retention, state::Profile, view};

fn desk(kit: &Kit) -> &Profile {
    &kit.swarm.profiles[&name("desk")]
}

fn publish(kit: &mut Kit, channel: ChannelName) {
    let request = ProfileRequest { publish: channel, ..desk(kit).request.clone() };
    kit.must(Command::PutProfile { name: name("desk"), request });
}

/// A run that builds this version of the viewer.
fn run(kit: &mut Kit, viewer: u32) -> RunId {
    night(kit, plan(&[&format!("viewer-{viewer}"), "lib-1"], &[(0, 1)]), &[])
}

/// A profile that publishes to staging, with a first generation in stable and two more in staging.
fn staged() -> Kit {
    let mut kit = Kit::new(&["a", "b"]);
    run(&mut kit, 1);
    publish(&mut kit, ChannelName::Staging);
    run(&mut kit, 2);
    run(&mut kit, 3);
    kit
}

fn promote(kit: &mut Kit, generation: impl Into<Option<u64>>) {
    kit.must(Command::Promote { profile: name("desk"), generation: generation.into() });
}

/// The kept generations of a channel, the one that the last of them repeats, and its version of the viewer.
fn at(kit: &Kit, channel: ChannelName) -> (Vec<u64>, Option<u64>, String) {
    let history = desk(kit).history(channel);
    let current = history.current().unwrap();
    let packages = current.artifacts.iter().map(|digest| history.artifacts[digest].target.title());
    let viewer = packages.filter_map(|title| title.split_once("viewer-")).map(|(_, version)| version);
    (history.generations.iter().map(|g| g.number).collect(), current.like, viewer.collect())
}

fn is(numbers: &[u64], like: Option<u64>, viewer: &str) -> (Vec<u64>, Option<u64>, String) {
    (numbers.to_vec(), like, viewer.to_owned())
}

#[test]
fn what_runs_build_waits_in_staging_until_it_is_promoted() {
    let mut kit = staged();
    assert_eq!(at(&kit, ChannelName::Staging), is(&[2, 3, 4], None, "3"), "it begins with what stable has");
    assert_eq!(at(&kit, ChannelName::Stable), is(&[1], None, "1"));
    promote(&mut kit, None);
    assert_eq!(at(&kit, ChannelName::Stable), is(&[1, 5], Some(4), "3"));
    run(&mut kit, 4);
    assert_eq!(at(&kit, ChannelName::Staging), is(&[2, 3, 4, 6], None, "4"), "no number is in both");
    assert_eq!(at(&kit, ChannelName::Stable).0, [1, 5]);
}

#[test]
fn a_chosen_generation_is_promoted_and_a_repetition_changes_nothing() {
    let mut kit = staged();
    promote(&mut kit, 3);
    assert_eq!(at(&kit, ChannelName::Stable), is(&[1, 5], Some(3), "2"));
    let before = kit.swarm.clone();
    promote(&mut kit, 3);
    assert!(before == kit.swarm);
    promote(&mut kit, None);
    assert_eq!(at(&kit, ChannelName::Stable), is(&[1, 5, 6], Some(4), "3"));
    // A generation that stable has is not a staged one.
    for generation in [1, 5, 9].map(Some) {
        let refused = kit.send(Command::Promote { profile: name("desk"), generation });
        let kept = vec![2, 3, 4];
        assert_eq!(refused, Err(Refusal::UnknownGeneration { profile: name("desk"), generation, kept }));
    }
}

#[test]
fn a_rollback_of_stable_leaves_staging_alone_and_a_promotion_ends_it() {
    let mut kit = staged();
    promote(&mut kit, None);
    kit.must(Command::RollBack { profile: name("desk"), generation: None });
    assert_eq!(at(&kit, ChannelName::Stable), is(&[1, 5, 6], Some(1), "1"));
    assert!(desk(&kit).stable.held && !view::concerns(&kit.swarm, kit.now, kit.now, &[]).is_empty());
    run(&mut kit, 4);
    assert_eq!(at(&kit, ChannelName::Staging), is(&[2, 3, 4, 7], None, "4"));
    assert_eq!(at(&kit, ChannelName::Stable).0, [1, 5, 6]);
    promote(&mut kit, None);
    assert_eq!(at(&kit, ChannelName::Stable), is(&[1, 5, 6, 8], Some(7), "4"));
    assert!(!desk(&kit).stable.held);
}

#[test]
fn a_profile_that_publishes_to_stable_again_takes_what_waits_and_staging_goes_on_with_it() {
    let mut kit = staged();
    let choice = Command::Promote { profile: name("desk"), generation: Some(3) };
    publish(&mut kit, ChannelName::Stable);
    assert_eq!(at(&kit, ChannelName::Stable), is(&[1, 5], None, "3"));
    assert!(matches!(kit.send(choice), Err(Refusal::Invalid(_))), "there is nothing to choose");
    run(&mut kit, 4);
    let (stable, staging) = (at(&kit, ChannelName::Stable), at(&kit, ChannelName::Staging));
    assert_eq!((stable.2, staging.2), ("4".to_owned(), "4".to_owned()));
}

#[test]
fn a_profile_that_never_published_to_staging_has_no_such_channel() {
    let mut kit = Kit::new(&["a", "b"]);
    run(&mut kit, 1);
    run(&mut kit, 2);
    let view = view::channel(&name("desk"), desk(&kit));
    assert_eq!((view.staging, view.publish), (None, ChannelName::Stable));
    assert!(view::status(&kit.swarm, kit.now, kit.now, "", &[]).staged.is_empty());
}

#[test]
fn what_waits_is_said_and_is_no_concern() {
    let mut kit = staged();
    let desk = name("desk");
    let status = |kit: &Kit| view::status(&kit.swarm, kit.now, kit.now, "", &[]);
    let waiting = StagedStatus { profile: desk.clone(), generation: 4, run: RunId(3), packages: 2 };
    assert_eq!(status(&kit).staged, [waiting]);
    assert!(status(&kit).healthy, "{:?}", status(&kit).concerns);
    let why = |kit: &Kit, package: &str| {
        let id = view::find(&kit.swarm, package, None).unwrap();
        view::why(&kit.swarm, kit.now, id).unwrap().lines.join("\n")
    };
    let text = why(&kit, "viewer");
    assert!(
        text.contains("waits in staging, in generation 4: publish it with `swarmctl channel promote desk`"),
        "{text}"
    );
    assert!(why(&kit, "lib").contains("stored and published"), "stable has the same");
    let view = view::channel(&desk, &kit.swarm.profiles[&desk]);
    assert_eq!(view.staged.unwrap().generation, Some(4));
    assert_eq!(view.staging.unwrap().generations[0].number, 4);
    let contents = view::generation(&desk, &kit.swarm.profiles[&desk], 3).unwrap();
    assert!(contents.packages.iter().any(|package| package.version == "2"), "{contents:?}");

    promote(&mut kit, None);
    assert!(status(&kit).staged.is_empty());
    assert!(why(&kit, "viewer").contains("stored and published"));
}

#[test]
fn what_either_channel_has_is_kept() {
    let mut kit = staged();
    kit.swarm.policy.keep_runs = 2;
    for viewer in 4..=9 {
        run(&mut kit, viewer);
    }
    assert_eq!(at(&kit, ChannelName::Staging).0, [9, 10]);
    let all = retention::artifacts(&kit.swarm, None);
    let mut viewers: Vec<&str> = all.iter().map(|a| a.target.version()).collect();
    viewers.sort_unstable();
    // The library and the viewers: stable is still at its first generation.
    assert_eq!(viewers, ["1", "1", "8", "9"]);
}

#[test]
fn numbers_that_a_restored_journal_does_not_know_are_skipped_in_staging_too() {
    let mut kit = staged();
    let record = |kit: &mut Kit, generation| {
        kit.must(Command::RecordGeneration {
            profile: name("desk"),
            channel: ChannelName::Staging,
            run: RunId(3),
            generation,
            packages: 2,
        });
    };
    record(&mut kit, 4);
    assert_eq!((desk(&kit).staging_generation, desk(&kit).generation), (4, 0));
    kit.must(Command::SkipGenerations { profile: name("desk"), channel: ChannelName::Staging, last: 8 });
    assert_eq!(at(&kit, ChannelName::Staging), is(&[2, 3, 4, 9], Some(4), "3"));
    promote(&mut kit, None);
    assert_eq!(at(&kit, ChannelName::Stable), is(&[1, 10], Some(4), "3"));
}

#[test]
fn the_journal_leads_to_the_same_channels() {
    let mut kit = staged();
    let mut copy = kit.swarm.clone();
    let request = ProfileRequest { publish: ChannelName::Stable, ..desk(&kit).request.clone() };
    for command in [
        Command::Promote { profile: name("desk"), generation: Some(3) },
        Command::SkipGenerations { profile: name("desk"), channel: ChannelName::Staging, last: 7 },
        Command::RollBack { profile: name("desk"), generation: None },
        Command::PutProfile { name: name("desk"), request },
        Command::Promote { profile: name("desk"), generation: None },
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
}
