//! The contents of the status and their order.

use super::*;
use crate::cmd::fixtures;
use swarm_common::{state::Caller, wire::view::ConnectionsView};

#[test]
fn a_drone_that_was_not_heard_lately_is_shown_before_it_is_offline() {
    let mut status = fixtures::status();
    status.drones[0].last_seen = Some(status.now - 40_000);
    assert_eq!(
        does(&status, &status.drones[0]),
        "silent for 40 s; app-misc/reckon-1.0: building for 1 min 30 s"
    );
    status.drones[0].last_seen = None;
    assert!(does(&status, &status.drones[0]).starts_with("no heartbeat yet; "));
}

#[test]
fn what_each_slot_of_a_drone_does_has_a_line() {
    let mut status = fixtures::status();
    let oak = &mut status.drones[0];
    oak.facts.slots = 3;
    let sent =
        WorkView { title: "app-misc/sent-1".into(), phase: Phase::Uploading, ..oak.working_on[0].clone() };
    let beside = WorkView { title: "app-misc/beside-1".into(), ..oak.working_on[0].clone() };
    oak.working_on.extend([sent, beside]);
    let works = other_slots(&status, &status.drones[0]);
    assert_eq!(
        works,
        [
            "app-misc/sent-1: uploading for 1 min 30 s",
            "app-misc/beside-1: building for 1 min 30 s",
            "1 idle slot"
        ]
    );
    let text = render(&status, "x", Paint::new(false));
    assert!(works.iter().all(|work| text.contains(&format!("   {work}\n"))), "{text}");
    let oak = status.drones[0].clone();
    status.drones = vec![oak; 13];
    assert_eq!(other_slots(&status, &status.drones[0]), ["and 2 more", "1 idle slot"]);
}

#[test]
fn a_swarm_in_trouble_is_told_on_one_screen_with_the_next_action_last() {
    let text = render(&fixtures::status(), "http://nas:8100", Paint::new(false));
    assert_eq!(
        text,
        "\
Build Swarm 0.1.0 at http://nas:8100, up 2 h, next run: desk in 5 h

Drones
  NAME   STATE     LOAD  FREE MEMORY  FREE DISK  STRIKES  ACTIVITY
  oak    online    1.5   2.0 GiB      40.0 GiB            app-misc/reckon-1.0: building for 1 min 30 s
  birch  grounded                                5        five strikes\\u{1b}[2J (last heartbeat 40 s ago)

Runs
  RUN  PROFILE  CLASS    STATE     PACKAGES
  r7   desk     nightly  building  12 of 20, 1 delegated, 2 quarantined, 4 reused, 1 not retried (saves 1 h 30 min)  done in about 5 min
  base gentoo: generation 2, built from r6; next generation, with 3 new packages of r7, is being made on oak

Queue  blocked 3  needed 2  delegated 1  received 12  quarantined 2

Passes
  PASS       LAST RUN  RESULT
  publisher  9 s ago   3 placed for drones (9 s ago)
  upkeep     1 s ago   failed: no\\u{1b}[2J

Concerns
  ! birch is grounded
    it comes back in 3 min

Next: swarmctl quarantine list
"
    );
    assert!(text.lines().count() <= 24, "it fits a screen");
}

#[test]
fn an_action_is_shown_as_the_command_that_does_it_however_it_was_worded() {
    let mut status = fixtures::status();
    status.action = Some(Action::ApproveDrone { drone: "oak".parse().unwrap() });
    let text = render(&status, "x", Paint::new(false));
    assert!(text.ends_with("\nNext: swarmctl drone approve oak\n"), "{text}");
}

#[test]
fn connections_that_were_turned_away_are_counted_once_there_were_any() {
    let mut status = fixtures::status();
    let row = |of, turned_away| ConnectionsView { of, open: 1, limit: 2, turned_away };
    status.connections = vec![row(Caller::Stranger, 0), row(Caller::Drone, 0)];
    assert!(!render(&status, "x", Paint::new(false)).contains("connections rejected"));
    status.connections = vec![row(Caller::Stranger, 41), row(Caller::Drone, 0), row(Caller::Admin, 1)];
    let text = render(&status, "x", Paint::new(false));
    assert!(text.contains("\nconnections rejected: 41 of strangers, 1 of admins\n"), "{text}");
}

#[test]
fn a_new_swarm_says_how_to_begin_and_a_well_one_that_it_is() {
    let mut status = fixtures::status();
    status.drones.clear();
    status.runs.clear();
    status.queue.clear();
    status.concerns.clear();
    status.next_action = None;
    status.healthy = true;
    let text = render(&status, "x", Paint::new(false));
    assert!(text.contains("swarmctl drone token"), "{text}");
    assert!(text.ends_with("Healthy.\n"), "{text}");
}

#[test]
fn many_drones_still_fit_and_the_troubled_ones_are_shown() {
    let mut status = fixtures::status();
    let (oak, birch) = (status.drones[0].clone(), status.drones[1].clone());
    status.drones = vec![oak; 63];
    status.drones.push(birch);
    let text = render(&status, "x", Paint::new(false));
    assert!(text.contains("birch") && text.contains("and 52 more drones"), "{text}");
}
