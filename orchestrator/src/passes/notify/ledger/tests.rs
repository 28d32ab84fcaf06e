//! Messages are sent once, in time, combined where possible, and not again after a restart.

use super::*;
use swarm_common::name::Name;
use swarm_core::view;

const WINDOW: u64 = 600_000;
const MINUTE: u64 = 60_000;

/// A concern as stored by an older version, without a fact.
fn concern(what: &str, severity: Severity) -> Concern {
    Concern {
        fact: ConcernKind::Unknown,
        what: format!("{what}: why"),
        next: "wait".into(),
        signature: what.into(),
        severity,
        action: None,
    }
}

fn warning(what: &str) -> Concern {
    concern(what, Severity::Warning)
}

/// Looks every ten seconds from `from` to `to`. Returns what is announced, and when.
fn notifications(
    ledger: &mut NotificationLedger,
    from: u64,
    to: u64,
    present: &[Concern],
) -> Vec<(u64, String, bool)> {
    let mut notifications = Vec::new();
    for at in (from..to).step_by(10_000) {
        let changes = ledger.look(TimeMs(at), present, WINDOW);
        notifications.extend(changes.into_iter().map(|c| (at, c.concern.signature, c.wrong)));
    }
    notifications
}

/// Ended runs: number, time of the end, and how many times each was reopened.
fn ends(runs: &[(u64, u64, u32)]) -> BTreeMap<RunId, RunEnd> {
    runs.iter().map(|&(run, at, reopened)| (RunId(run), RunEnd { at: TimeMs(at), reopened })).collect()
}

/// The ledger as read after a restart.
fn restarted(ledger: &NotificationLedger) -> NotificationLedger {
    serde_json::from_str(&serde_json::to_string(ledger).unwrap()).unwrap()
}

#[test]
fn only_the_change_to_wrong_and_the_change_to_right_are_told() {
    let mut ledger = NotificationLedger::default();
    let day = 24 * 60 * MINUTE;
    assert_eq!(notifications(&mut ledger, 0, day, &[warning("oak")]), [(WINDOW, "oak".into(), true)]);
    let right = notifications(&mut ledger, day, 2 * day, &[]);
    assert_eq!(right.iter().map(|t| t.2).collect::<Vec<_>>(), [false]);
    assert!(notifications(&mut ledger, 2 * day, 3 * day, &[]).is_empty());
}

#[test]
fn what_comes_and_goes_within_the_window_is_not_told() {
    let mut ledger = NotificationLedger::default();
    assert!(notifications(&mut ledger, 0, 5 * MINUTE, &[warning("oak")]).is_empty());
    assert!(notifications(&mut ledger, 5 * MINUTE, 60 * MINUTE, &[]).is_empty());
    assert!(ledger.concerns.is_empty(), "nothing is left of it");
}

#[test]
fn changes_within_the_window_are_told_together() {
    let mut ledger = NotificationLedger::default();
    assert!(notifications(&mut ledger, 0, 4 * MINUTE, &[warning("oak")]).is_empty());
    assert!(notifications(&mut ledger, 4 * MINUTE, 8 * MINUTE, &[warning("oak"), warning("elm")]).is_empty());
    let three = [warning("oak"), warning("elm"), warning("ash")];
    let when: Vec<u64> =
        notifications(&mut ledger, 8 * MINUTE, 60 * MINUTE, &three).iter().map(|t| t.0).collect();
    assert_eq!(when, [WINDOW; 3]);
}

#[test]
fn a_critical_concern_is_told_after_a_minute_and_takes_the_settled_ones_along() {
    let mut ledger = NotificationLedger::default();
    assert!(notifications(&mut ledger, 0, 2 * MINUTE, &[warning("oak")]).is_empty());
    let both = [warning("oak"), concern("disk", Severity::Critical)];
    let notifications = notifications(&mut ledger, 2 * MINUTE, 30 * MINUTE, &both);
    let at = 3 * MINUTE;
    assert_eq!(notifications, [(at, "disk".into(), true), (at, "oak".into(), true)], "worst first, at once");
}

#[test]
fn a_drone_that_flaps_all_night_is_told_a_few_times_and_not_a_hundred() {
    let mut ledger = NotificationLedger::default();
    let mut count = 0;
    for hour in 0..40 {
        let from = hour * 15 * 2 * MINUTE;
        count += notifications(&mut ledger, from, from + 15 * MINUTE, &[warning("oak")]).len();
        count += notifications(&mut ledger, from + 15 * MINUTE, from + 30 * MINUTE, &[]).len();
    }
    assert!((2..=4).contains(&count), "{count}");
}

#[test]
fn a_storm_of_concerns_is_at_most_two_messages_in_a_window() {
    let mut ledger = NotificationLedger::default();
    let mut messages = Vec::new();
    for second in (0..3600).step_by(5) {
        // A new concern every five seconds, every other one critical.
        let severity = |n: u64| if n.is_multiple_of(2) { Severity::Critical } else { Severity::Warning };
        let present: Vec<Concern> =
            (0..=second / 5).map(|n| concern(&format!("c{n}"), severity(n))).collect();
        if !ledger.look(TimeMs(second * 1000), &present, WINDOW).is_empty() {
            messages.push(second);
        }
    }
    assert!((6..=12).contains(&messages.len()), "{messages:?}");
}

#[test]
fn a_restart_neither_repeats_nor_loses() {
    let mut ledger = NotificationLedger::default();
    assert_eq!(ledger.ended(&ends(&[(1, 5, 0)])), [], "before anybody was there to tell");
    notifications(&mut ledger, 0, 20 * MINUTE, &[warning("oak")]);
    ledger.post("phone", compose(TimeMs(0), &[&Change { concern: warning("oak"), wrong: true }]).unwrap());

    let mut ledger = restarted(&ledger);
    assert!(
        notifications(&mut ledger, 20 * MINUTE, 90 * MINUTE, &[warning("oak")]).is_empty(),
        "announced already"
    );
    let waiting = ledger.outboxes["phone"].due(TimeMs(0)).unwrap();
    assert_eq!(waiting.0.title, "oak: why");

    // While stopped, the concern is resolved and a run ends.
    let mut ledger = restarted(&ledger);
    assert_eq!(notifications(&mut ledger, 90 * MINUTE, 120 * MINUTE, &[]).len(), 1);
    let runs = ends(&[(1, 5, 0), (2, 9, 0)]);
    assert_eq!(ledger.ended(&runs), [RunId(2)]);
    assert_eq!(restarted(&ledger).ended(&runs), []);
    // An admin reopens the run and it ends again: at once, later, or after a restart.
    assert_eq!(ledger.ended(&ends(&[(2, 12, 1)])), [RunId(2)]);
    assert_eq!((ledger.ended(&ends(&[])), ledger.ended(&ends(&[(2, 15, 2)]))), (vec![], vec![RunId(2)]));
    assert_eq!(restarted(&ledger).ended(&ends(&[(2, 18, 1)])), [RunId(2)]);
}

// fault: 58
#[test]
fn a_run_is_not_told_again_when_the_clock_is_set() {
    let mut ledger = NotificationLedger::default();
    assert_eq!(ledger.ended(&ends(&[])), []);
    assert_eq!(ledger.ended(&ends(&[(1, 5, 0), (2, 7, 1)])).len(), 2);
    assert_eq!(ledger.ended(&ends(&[(1, 7_200_005, 0), (2, 7_200_007, 1)])), [], "its end was moved");
    assert_eq!(restarted(&ledger).ended(&ends(&[(1, 4, 0), (2, 6, 0)])), []);
}

// fault: 58
#[test]
fn a_clock_that_is_set_neither_delays_a_concern_nor_tells_it_too_early() {
    let critical = [concern("disk", Severity::Critical)];
    let (before, year) = (100 * 24 * 60 * MINUTE, 365 * 24 * 60 * MINUTE as i64);
    for by_ms in [-50 * 24 * 60 * MINUTE as i64, -2 * 60 * MINUTE as i64, 56 * year] {
        let mut ledger = NotificationLedger::default();
        let started_at = TimeMs(before - MINUTE);
        ledger.follow(ClockMoves { started_at, ..ClockMoves::default() });
        assert!(notifications(&mut ledger, before, before + MINUTE / 2, &critical).is_empty());
        let moved = |at: u64| at.saturating_add_signed(by_ms);
        ledger.follow(ClockMoves {
            started_at: TimeMs(moved(started_at.0)),
            set_by_ms: by_ms,
            stood_still_ms: 0,
        });
        let from = moved(before + MINUTE / 2);
        let notifications = notifications(&mut ledger, from, from + 60 * MINUTE, &critical);
        assert_eq!(notifications, [(moved(before + MINUTE), "disk".into(), true)], "{by_ms}");
    }
}

// fault: 58
#[test]
fn a_concern_has_not_lasted_while_the_machine_slept() {
    let mut ledger = NotificationLedger::default();
    let critical = [concern("disk", Severity::Critical)];
    assert!(notifications(&mut ledger, 0, MINUTE / 2, &critical).is_empty());
    let asleep = 8 * 60 * MINUTE;
    ledger.follow(ClockMoves { stood_still_ms: asleep, ..ClockMoves::default() });
    let notifications = notifications(&mut ledger, asleep + MINUTE / 2, asleep + 60 * MINUTE, &critical);
    assert_eq!(notifications, [(asleep + MINUTE, "disk".into(), true)]);
}

// fault: 58
#[test]
fn what_was_told_by_a_clock_that_was_ahead_delays_nothing_after_a_restart() {
    let mut ledger = NotificationLedger::default();
    let ahead = 20 * 365 * 24 * 60 * MINUTE;
    assert_eq!(notifications(&mut ledger, ahead, ahead + 20 * MINUTE, &[warning("oak")]).len(), 1);
    let mut ledger = restarted(&ledger);
    let both = [warning("oak"), concern("disk", Severity::Critical)];
    assert_eq!(notifications(&mut ledger, 0, 30 * MINUTE, &both), [(MINUTE, "disk".into(), true)]);
    // Concerns that were resolved long ago are forgotten.
    let end = notifications(&mut ledger, 30 * MINUTE, 60 * MINUTE, &[]);
    assert_eq!(end.len(), 2, "{end:?}");
    assert!(notifications(&mut ledger, 60 * MINUTE, 26 * 60 * MINUTE, &[]).is_empty());
    assert!(ledger.concerns.is_empty(), "{:?}", ledger.concerns);
}

#[test]
fn what_the_end_of_a_run_has_told_is_not_told_again() {
    let mut ledger = NotificationLedger::default();
    let desk: Name = "desk".parse().unwrap();
    let failed = |profile: &Name| {
        view::concern(ConcernKind::RunFailed { run: RunId(1), profile: profile.clone(), why: "x".into() })
    };
    let of_desk = |fact: &ConcernKind| fact.is_covered_by_run_end(&desk);
    let present = [failed(&desk), warning("oak")];
    ledger.look(TimeMs(0), &present, WINDOW);
    assert!(!failed(&"lap".parse().unwrap()).fact.is_covered_by_run_end(&desk));
    ledger.mark_announced(TimeMs(0), of_desk, &present);
    let later = notifications(&mut ledger, 0, 30 * MINUTE, &present);
    assert_eq!(later, [(WINDOW, "oak".into(), true)]);
    // The next run resolves the concern, which its own message says.
    ledger.mark_announced(TimeMs(31 * MINUTE), of_desk, &[]);
    assert!(notifications(&mut ledger, 31 * MINUTE, 60 * MINUTE, &[warning("oak")]).is_empty());
}

#[test]
fn a_message_says_what_is_wrong_and_what_follows() {
    let (oak, elm) = (warning("oak is offline"), concern("elm is lost", Severity::Critical));
    let one = Change { concern: oak.clone(), wrong: true };
    let made = compose(TimeMs(0), &[&one]).unwrap();
    assert_eq!((made.title.as_str(), made.text.as_str()), ("oak is offline: why", "Next: wait"));
    let right = Change { concern: oak, wrong: false };
    assert_eq!(compose(TimeMs(0), &[&right]).unwrap().title, "resolved: oak is offline");
    let made = compose(TimeMs(0), &[&Change { concern: elm, wrong: true }, &right]).unwrap();
    assert_eq!(made.severity, Severity::Critical);
    assert_eq!(made.title, "1 new concern, 1 resolved");
    assert_eq!(made.text, "! elm is lost: why\n  wait\nresolved: oak is offline");
}

#[test]
fn what_an_older_version_has_told_is_not_told_again_and_its_end_is() {
    // As stored by a version without facts.
    let kept = r##"{"concerns":{"drone oak is grounded for # s":{"concern":{"what":"drone oak is grounded for 295 s: five strikes","next":"it works again","signature":"drone oak is grounded for # s","severity":"warning"},"told":true,"told_at":0,"returns":0}},"runs":{},"outboxes":{},"told_at":0,"last_id":1}"##;
    let mut ledger: NotificationLedger = serde_json::from_str(kept).unwrap();
    let fact = |why: &str| ConcernKind::DroneGrounded {
        drone: "oak".parse().unwrap(),
        for_ms: 200_000,
        why: why.into(),
    };
    let now = [view::concern(fact("five strikes"))];
    assert!(notifications(&mut ledger, 0, 60 * MINUTE, &now).is_empty(), "it was announced already");
    let changes = (60..90).find_map(|minute| {
        let changes = ledger.look(TimeMs(minute * MINUTE), &[], WINDOW);
        (!changes.is_empty()).then_some(changes)
    });
    let made = compose(TimeMs(0), &changes.unwrap().iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(made.title, "resolved: drone oak is grounded");
}

#[test]
fn notifications_do_not_depend_on_how_anything_is_worded() {
    let reworded = |concern: &Concern| Concern {
        what: concern.what.chars().rev().collect(),
        next: "quite another sentence".into(),
        ..concern.clone()
    };
    let name = |text: &str| text.parse::<Name>().unwrap();
    let pending = |drone| view::concern(ConcernKind::DronePending { drone: name(drone), returned: false });
    let lost = |why: &str| view::concern(ConcernKind::DroneLost { drone: name("ash"), why: why.into() });
    let nights: [(u64, Vec<Concern>); 5] = [
        (0, vec![pending("oak")]),
        (20, vec![pending("oak"), lost("its machine was unreachable 5 times")]),
        (40, vec![pending("oak"), pending("elm"), lost("its machine was unreachable 6 times")]),
        (60, vec![lost("it is still silent after restarts and a reboot")]),
        (80, vec![]),
    ];
    let (mut plain, mut other) = (NotificationLedger::default(), NotificationLedger::default());
    let mut changes = 0;
    for (minute, present) in &nights {
        let (from, to) = (minute * MINUTE, (minute + 20) * MINUTE);
        let expected = notifications(&mut plain, from, to, present);
        // From the second night on, a version with different wording uses the same ledger.
        let present: Vec<Concern> =
            present.iter().map(|c| if from > 0 { reworded(c) } else { c.clone() }).collect();
        assert_eq!(notifications(&mut other, from, to, &present), expected, "at {minute} min");
        changes += expected.len();
        other = restarted(&other);
        plain = restarted(&plain);
    }
    assert_eq!(changes, 6, "three became wrong and resolved, once each");
}
