//! Journals that came back with less than was acknowledged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::kit::Kit;
use std::collections::BTreeSet;
use swarm_common::{
    id::{AttemptId, DroneId},
    wire::{
        concern::ConcernKind,
        drone::{HeartbeatRequest, Vitals},
    },
};
use swarm_core::{Command, Event, Request, Swarm, view};

const OAK: DroneId = DroneId(1);

/// A state out of a backup is started, with these dice.
fn restore(backup: &Kit, entropy: u64) -> Swarm {
    let mut swarm = backup.swarm.clone();
    for command in [Command::SkipIds, Command::StartOrchestrator] {
        swarm.handle(&Request { now: backup.now, entropy, key: None, command }).unwrap();
    }
    swarm
}

/// A heartbeat that tells of this attempt. How many events it leaves in the journal.
fn tell(kit: &mut Kit, drone: DroneId, seen: u64) -> u64 {
    let request = HeartbeatRequest {
        vitals: Vitals::default(),
        attempts: Vec::new(),
        draining: false,
        boot_id: "1".into(),
        facts: None,
        highest_attempt: Some(AttemptId(seen)),
    };
    let before = kit.swarm.seq;
    kit.must(Command::Heartbeat { drone, request });
    kit.swarm.seq - before
}

fn rollbacks(kit: &Kit) -> Vec<ConcernKind> {
    let all = view::concerns(&kit.swarm, kit.now, kit.now, &[]).into_iter().map(|concern| concern.fact);
    all.filter(|fact| matches!(fact, ConcernKind::JournalRolledBack { .. })).collect()
}

#[test]
fn restores_of_one_backup_at_one_moment_go_different_ways() {
    let mut kit = Kit::new(&["oak"]);
    kit.run(&["a-1"], &[]);
    // Numbers as a generator gives them.
    let dice = (1..=20_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17));
    let lives: Vec<Swarm> = dice.map(|entropy| restore(&kit, entropy)).collect();
    let mut firsts = [const { BTreeSet::new() }; 5];
    for Swarm { last, build_ids_skipped, .. } in &lives {
        let ids = [last.run, last.package, last.attempt, last.drone, u64::from(*build_ids_skipped)];
        for (id, firsts) in ids.into_iter().zip(&mut firsts) {
            let near = firsts.range(id.saturating_sub(5)..id + 5).next();
            assert_eq!(near, None, "ids of two lives are as near as {near:?} and {id}");
            firsts.insert(id);
        }
    }
}

#[test]
fn build_ids_do_not_run_out_however_often_something_is_restored() {
    let mut kit = Kit::new(&["oak"]);
    for n in 0..200_u64 {
        // Half a year later each time.
        kit.now = kit.now + 180 * 24 * 3600 * 1000;
        let before = kit.swarm.build_ids_skipped;
        kit.swarm = restore(&kit, u64::MAX - n);
        let now = kit.swarm.build_ids_skipped;
        assert!(now <= 100_000 && (now > before || now > 99_990), "{n}: {before} and then {now}");
    }
}

#[test]
fn a_drone_that_saw_a_later_attempt_shows_that_the_journal_was_rolled_back() {
    let mut kit = Kit::new(&["oak", "elm"]);
    let older = kit.swarm.clone();
    kit.run(&["a-1"], &[]);
    let seen = kit.claim(OAK).unwrap().attempt;
    assert_eq!(tell(&mut kit, OAK, seen.0), 0, "what is known shows nothing");
    assert_eq!(rollbacks(&kit), []);

    kit.swarm = older;
    kit.must(Command::StartOrchestrator);
    let last = AttemptId(kit.swarm.last.attempt);
    assert_eq!(tell(&mut kit, OAK, seen.0), 1);
    let drone = crate::kit::name("oak");
    assert_eq!(rollbacks(&kit), [ConcernKind::JournalRolledBack { drone, seen, last }]);
    assert!(kit.swarm.last.attempt > seen.0 + 1000 && kit.swarm.restored_at == Some(kit.now));
    // The other drone saw more, but the ids skipped cover that.
    assert_eq!(tell(&mut kit, DroneId(2), seen.0 + 500), 0);
    kit.run(&["a-1"], &[]);
    assert!(kit.claim(OAK).unwrap().attempt.0 > seen.0 + 500);

    kit.must(Command::StartOrchestrator);
    assert_eq!(rollbacks(&kit), [], "the next start ends it");
}

#[test]
fn a_liar_neither_uses_up_the_ids_nor_fills_the_journal() {
    let mut kit = Kit::new(&["oak"]);
    assert_eq!(tell(&mut kit, OAK, u64::MAX) + tell(&mut kit, OAK, 1 << 50), 0);
    assert_eq!(rollbacks(&kit), []);
    let mut events = 0;
    for n in 1..100 {
        let last = kit.swarm.last.attempt;
        events += tell(&mut kit, OAK, last + (n << 20));
    }
    assert_eq!(events, 1, "once per start");
}

#[test]
fn the_event_of_skipped_ids_is_read_as_it_was_written_before() {
    let old = r#"{"event":"ids_skipped","last":{"run":1,"package":2,"attempt":3,"drone":4},"build_id":5}"#;
    let event: Event = serde_json::from_str(old).unwrap();
    assert!(matches!(event, Event::IdsSkipped { build_id: 5, .. }));
}
