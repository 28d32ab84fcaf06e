//! A swarm at rest reports when time alone will change something next, so that nobody has to check every
//! second. A working swarm does not.

use crate::kit::{Kit, name};
use swarm_common::{digest::Digest, id::DroneId, state::*, time::TimeMs};
use swarm_core::Command;

/// Lets time pass until just before something is due, and then until it is due. Counts the events of both
/// steps.
fn before_and_at(kit: &mut Kit, due: TimeMs) -> (u64, u64) {
    let seq = kit.swarm.seq;
    kit.now = TimeMs(due.0 - 1);
    kit.must(Command::Maintain);
    let before = kit.swarm.seq - seq;
    kit.now = due;
    kit.must(Command::Maintain);
    (before, kit.swarm.seq - seq - before)
}

#[test]
fn what_time_changes_next_is_known_while_nothing_is_under_way() {
    let mut kit = Kit::new(&["ada", "bob"]);
    kit.pass(kit.swarm.policy.startup_grace_ms, &[DroneId(1), DroneId(2)]);
    kit.now = kit.now + 7_000;
    kit.heartbeat(DroneId(2), &[]);

    kit.must(Command::Pause { for_ms: 5_000, reason: String::new() });
    let due = kit.swarm.next_due().unwrap();
    assert_eq!((due, before_and_at(&mut kit, due)), (kit.now, (0, 1)));

    let token_hash = Digest::of(b"unused");
    kit.must(Command::IssueEnrolToken { token_hash, valid_ms: 6_000, approved: true });
    let due = kit.swarm.next_due().unwrap();
    assert_eq!((due, before_and_at(&mut kit, due)), (kit.now, (0, 1)));

    // The drone heard first becomes silent first.
    let due = kit.swarm.next_due().unwrap();
    assert_eq!(before_and_at(&mut kit, due), (0, 1));
    assert_eq!(kit.drone_state(DroneId(1)), DroneState::Offline);
    assert_eq!(kit.swarm.next_due(), None, "healing may have to do something at any moment");
}

#[test]
fn a_swarm_that_works_is_looked_at_all_the_time() {
    let mut kit = Kit::new(&["ada"]);
    assert!(kit.swarm.next_due().is_some());
    let run = kit.run(&["a-1"], &[]);
    assert_eq!(kit.swarm.next_due(), None);
    kit.must(Command::CancelRun(run));
    assert!(kit.swarm.next_due().is_some());
    kit.must(Command::SignOff { drone: DroneId(1), reason: "night".into() });
    assert_eq!(kit.swarm.next_due(), Some(TimeMs(u64::MAX)), "nothing is expected of it");
    kit.must(Command::RemoveProfile(name("desk")));
}
