//! Journals that were restored with fewer events than were acknowledged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::kit::{Kit, name, package_of, report};
use std::collections::BTreeSet;
use swarm_common::{
    digest::Digest,
    id::{AttemptId, DroneId},
    state::{PackageState, Phase, RunClass},
    wire::{admin::Rebuild, concern::ConcernKind, drone::*},
};
use swarm_core::{
    Command, Event, Reason, Reply, Request, Swarm,
    state::{Grounding, Job},
    view,
};

const OAK: DroneId = DroneId(1);
const ELM: DroneId = DroneId(2);

/// Starts from the state in a backup, with this entropy.
fn restore(backup: &Kit, entropy: u64) -> Swarm {
    let mut swarm = backup.swarm.clone();
    for command in [Command::SkipIds, Command::StartOrchestrator] {
        swarm.handle(&Request { now: backup.now, entropy, key: None, command }).unwrap();
    }
    swarm
}

/// Sends a heartbeat that reports this highest attempt. Returns how many events it adds to the journal.
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
    // Numbers like those of a random number generator.
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
    const MOST: u32 = 1 << 31;
    let mut kit = Kit::new(&["oak"]);
    for n in 0..200_u64 {
        // Half a year later each time.
        kit.now = kit.now + 180 * 24 * 3600 * 1000;
        let before = kit.swarm.build_ids_skipped;
        kit.swarm = restore(&kit, u64::MAX - n);
        let now = kit.swarm.build_ids_skipped;
        assert!(now <= MOST && (now > before || now > MOST - 10), "{n}: {before} and then {now}");
    }
}

#[test]
fn a_drone_is_sent_no_build_id_that_would_cost_it_much() {
    for (entropy, is_renumbered) in [(5_000_000, true), (0, false)] {
        let mut kit = Kit::new(&["oak"]);
        kit.run(&["a-1"], &[]);
        kit.swarm = restore(&kit, entropy);
        let assignment = kit.claim(OAK).unwrap();
        let Work::Build(order) = &assignment.work else { panic!("{assignment:?}") };
        let record = &kit.swarm.attempts[&assignment.attempt];
        assert!(u64::from(record.build_ids[0]) > entropy && !record.returned, "{record:?}");
        assert_eq!(record.is_renumbered(), is_renumbered, "{record:?}");
        let sent = if is_renumbered { 1 } else { record.build_ids[0] };
        assert_eq!(order.targets[0], order.targets[0].clone().with_build_id(sent));
        assert!(kit.deliver(OAK, &assignment).unwrap().accepted);
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
    let drone = name("oak");
    assert_eq!(rollbacks(&kit), [ConcernKind::JournalRolledBack { drone, seen, last }]);
    assert!(kit.swarm.last.attempt > seen.0 + 1000 && kit.swarm.restored_at == Some(kit.now));
    // The other drone has seen more, but the skipped IDs cover it.
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

/// Sends a heartbeat with a build that began in a time that the journal has lost.
fn offer(kit: &mut Kit, drone: DroneId, attempt: AttemptId, made_from: Option<MadeFrom>) -> Option<String> {
    offer_with(kit, drone, attempt, made_from, None)
}

fn offer_with(
    kit: &mut Kit,
    drone: DroneId,
    attempt: AttemptId,
    made_from: Option<MadeFrom>,
    highest_attempt: Option<AttemptId>,
) -> Option<String> {
    let request = HeartbeatRequest {
        vitals: Vitals::default(),
        attempts: vec![AttemptStatus { attempt, phase: Phase::Uploading, stuck: None, made_from }],
        draining: false,
        boot_id: "1".into(),
        facts: None,
        highest_attempt,
    };
    let reply = kit.must(Command::Heartbeat { drone, request });
    let Reply::Heartbeat(reply) = reply else { panic!("{reply:?}") };
    let is_known = kit.swarm.attempts.contains_key(&attempt);
    assert_eq!(
        reply.kept.contains(&attempt),
        !is_known && reply.cancel.is_empty(),
        "an unknown attempt is kept or cancelled"
    );
    reply.cancel.into_iter().next().map(|cancelled| cancelled.reason)
}

/// A swarm restored from a backup made when `a-1` was needed and `b-1` waited for it, and the drones' work
/// afterwards: oak built `a-1`, then `b-1`.
fn lost_life() -> (Kit, Vec<Assignment>) {
    let mut kit = Kit::new(&["oak", "elm"]);
    kit.run(&["a-1", "b-1"], &[(1, 0)]);
    let mut backup = kit.swarm.clone();
    std::mem::swap(&mut kit.swarm, &mut backup);
    let first = kit.claim(OAK).unwrap();
    kit.deliver(OAK, &first).unwrap();
    let second = kit.claim(OAK).unwrap();
    kit.swarm = backup;
    kit.now = kit.now + 1000;
    kit.swarm = restore(&kit, 7);
    (kit, vec![first, second])
}

#[test]
fn what_a_restored_journal_does_not_know_is_taken_back_with_build_ids_of_its_own() {
    let (mut kit, lost) = lost_life();
    let [first, second] = &lost[..] else { panic!("{lost:?}") };
    let (mut later, last) = (kit.swarm.clone(), kit.swarm.last.attempt);
    assert!(first.made_from() != second.made_from());

    // The second one is not needed before the first one is there.
    assert_eq!(offer(&mut kit, OAK, second.attempt, second.made_from()), None);
    assert_eq!(kit.swarm.attempts.get(&second.attempt), None);
    assert_eq!(offer(&mut kit, OAK, first.attempt, first.made_from()), None);
    let record = kit.swarm.attempts[&first.attempt].clone();
    assert!(record.drone == OAK && record.is_live() && record.returned && record.phase() == Phase::Uploading);
    let Work::Build(order) = &first.work else { panic!("{first:?}") };
    assert!(
        record.build_ids[0] > kit.swarm.build_ids_skipped
            && order.targets[0] != order.targets[0].clone().with_build_id(record.build_ids[0])
    );
    assert!(kit.claim(ELM).is_none(), "it is being delivered");
    assert!(kit.deliver(OAK, first).unwrap().accepted);
    assert_eq!(offer(&mut kit, OAK, second.attempt, second.made_from()), None);
    assert!(kit.deliver(OAK, second).unwrap().accepted);
    assert!(kit.deliver(OAK, second).unwrap().accepted, "a repeat");
    assert_eq!(kit.swarm.last.attempt, last, "no id was given out");

    // Another drone has been assigned it meanwhile. The first delivery counts.
    std::mem::swap(&mut kit.swarm, &mut later);
    let again = kit.claim(ELM).unwrap();
    let building = kit.swarm.clone();
    assert_eq!(offer(&mut kit, OAK, first.attempt, first.made_from()), None);
    assert!(kit.deliver(OAK, first).unwrap().accepted);
    assert!(kit.deliver(ELM, &again).is_err(), "it is superseded");
    assert_eq!(kit.heartbeat(ELM, &[again.attempt]).cancel[0].attempt, again.attempt);
    kit.swarm = building;
    kit.deliver(ELM, &again).unwrap();
    let why = offer(&mut kit, OAK, first.attempt, first.made_from()).unwrap();
    assert!(why.contains("the journal was restored"), "{why}");
    assert_eq!(kit.state(package_of(&again).0), PackageState::Received);
}

#[test]
fn nothing_is_taken_back_that_no_run_needs_or_that_the_drone_may_not_build() {
    let (kit, lost) = lost_life();
    let (attempt, made) = (lost[0].attempt, lost[0].made_from().unwrap());
    let (whole, mut kit) = (kit.swarm.clone(), kit);
    let mut outcome = |prepare: &dyn Fn(&mut Kit), attempt, made| {
        kit.swarm = whole.clone();
        prepare(&mut kit);
        let before = kit.swarm.attempts.len();
        let discarded = offer(&mut kit, OAK, attempt, made).is_some();
        (discarded, kit.swarm.attempts.len() - before)
    };
    const DISCARDED: (bool, usize) = (true, 0);
    const KEPT: (bool, usize) = (false, 0);
    let other = Digest::of(b"another");
    let as_it_is = |_: &mut Kit| ();
    assert_eq!(outcome(&as_it_is, attempt, Some(made)), (false, 1));
    assert_eq!(outcome(&as_it_is, attempt, None), DISCARDED);
    // A run after the backup may have needed it, and so may the next run.
    assert_eq!(outcome(&as_it_is, attempt, Some(MadeFrom { key: other, ..made })), KEPT);
    assert_eq!(outcome(&as_it_is, attempt, Some(MadeFrom { base: other, ..made })), KEPT);
    // An ID that was not assigned yet belongs to no attempt.
    assert_eq!(outcome(&as_it_is, AttemptId(u64::MAX), Some(made)), KEPT);

    let cancel = |kit: &mut Kit| {
        let run = *kit.swarm.runs.keys().next().unwrap();
        kit.must(Command::CancelRun(run));
    };
    assert_eq!(outcome(&cancel, attempt, Some(made)), DISCARDED);
    let plan = |kit: &mut Kit| {
        cancel(kit);
        kit.must(Command::StartRun { profile: name("desk"), class: RunClass::Nightly });
    };
    assert_eq!(outcome(&plan, attempt, Some(made)), KEPT, "its plan may need it");
    let pending = |kit: &mut Kit| kit.swarm.drones.get_mut(&OAK).unwrap().approved = false;
    assert_eq!(outcome(&pending, attempt, Some(made)), KEPT, "until an admin has approved the drone");
    let grounded = |kit: &mut Kit| {
        let grounding =
            Grounding { until: kit.now + 1000, reason: Reason::DroneFault { error: "no compiler".into() } };
        kit.swarm.drones.get_mut(&OAK).unwrap().grounded = Some(grounding);
    };
    assert_eq!(outcome(&grounded, attempt, Some(made)), KEPT);
    let long_ago = |kit: &mut Kit| kit.swarm.restored_at = None;
    assert_eq!(outcome(&long_ago, attempt, Some(made)), DISCARDED);
}

#[test]
fn a_result_that_no_run_needs_is_kept_until_each_profile_has_had_a_plan_since_the_restore() {
    let mut kit = Kit::new(&["oak", "elm"]);
    // In the backup's run, `a-1` was received. The next run, which the journal has lost, built `b-1`.
    kit.run(&["a-1"], &[]);
    let first = kit.claim(OAK).unwrap();
    kit.deliver(OAK, &first).unwrap();
    let backup = kit.swarm.clone();
    kit.run(&["b-1"], &[]);
    let lost = kit.claim(OAK).unwrap();
    kit.now = kit.now + 1000;
    kit.swarm = backup;
    kit.swarm = restore(&kit, 7);
    let (whole, restored) = (kit.swarm.clone(), kit.now);
    let is_discarded = |kit: &mut Kit| offer(kit, OAK, lost.attempt, lost.made_from()).is_some();
    assert!(!is_discarded(&mut kit), "there is no run");
    kit.now = kit.now + 1000;
    assert!(offer(&mut kit, OAK, lost.attempt, first.made_from()).is_some(), "it is received");

    kit.run(&["b-1"], &[]);
    assert!(!is_discarded(&mut kit) && kit.swarm.attempts[&lost.attempt].returned, "the next run needs it");
    assert!(kit.deliver(OAK, &lost).unwrap().accepted);

    kit.swarm = whole.clone();
    kit.put_profile("server", Rebuild::Gentoo);
    kit.run(&["c-1"], &[]);
    let other = kit.claim(ELM).unwrap();
    kit.deliver(ELM, &other).unwrap();
    assert!(!is_discarded(&mut kit), "the plan of `server` may need it");
    let server = kit.swarm.clone();
    kit.swarm.drones.get_mut(&OAK).unwrap().facts.profiles = vec![name("desk")];
    assert!(is_discarded(&mut kit), "it does not build for `server`");
    kit.swarm = server;
    kit.plan_for("server", report(&["d-1"], &[]));
    assert!(is_discarded(&mut kit), "no run needs it, and none will");

    kit.swarm = whole;
    kit.now = restored + 7 * 24 * 3600 * 1000;
    assert!(is_discarded(&mut kit), "no run came for a week");
}

#[test]
fn an_attempt_that_shows_a_rollback_is_taken_back_by_the_next_heartbeat() {
    let mut kit = Kit::new(&["oak"]);
    kit.run(&["a-1"], &[]);
    let older = kit.swarm.clone();
    let first = kit.claim(OAK).unwrap();
    kit.swarm = older;
    kit.must(Command::StartOrchestrator);
    let (attempt, made) = (first.attempt, first.made_from());
    assert_eq!(offer_with(&mut kit, OAK, attempt, made, Some(attempt)), None);
    assert_eq!(kit.swarm.attempts.get(&attempt), None);
    assert_eq!(offer(&mut kit, OAK, attempt, made), None);
    assert!(kit.deliver(OAK, &first).unwrap().accepted);
}

#[test]
fn many_unknown_attempts_of_one_package_are_one() {
    let (mut kit, lost) = lost_life();
    let made_from = lost[0].made_from();
    let status =
        |n| AttemptStatus { attempt: AttemptId(500_u64 + n), phase: Phase::Building, stuck: None, made_from };
    let request = HeartbeatRequest {
        vitals: Vitals::default(),
        attempts: (0..1000).map(status).collect(),
        draining: false,
        boot_id: "1".into(),
        facts: None,
        highest_attempt: None,
    };
    let before = kit.swarm.attempts.len();
    kit.must(Command::Heartbeat { drone: OAK, request });
    assert_eq!(kit.swarm.attempts.len(), before + 1);
}

#[test]
fn a_drone_that_signs_off_gives_up_both_of_its_attempts_at_one_package() {
    let (mut kit, lost) = lost_life();
    let again = kit.claim(OAK).unwrap();
    assert_eq!(offer(&mut kit, OAK, lost[0].attempt, lost[0].made_from()), None);
    let package = package_of(&again);
    assert_eq!(kit.swarm.attempts_at(Job::Build(package)).count(), 2);
    kit.must(Command::SignOff { drone: OAK, reason: "stopping".into() });
    assert_eq!(kit.state(package.0), PackageState::Needed);
    assert!(kit.claim(ELM).is_some());
}
