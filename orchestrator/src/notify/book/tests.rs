//! Told once, in time, together, and not again after a restart.

use super::*;

const WINDOW: u64 = 600_000;
const MINUTE: u64 = 60_000;

fn concern(what: &str, severity: Severity) -> Concern {
    Concern { what: format!("{what}: why"), next: "wait".into(), signature: what.into(), severity }
}

fn warning(what: &str) -> Concern {
    concern(what, Severity::Warning)
}

/// What is told when it is looked every ten seconds from `from` to `to`, with the time.
fn told(book: &mut Book, from: u64, to: u64, present: &[Concern]) -> Vec<(u64, String, bool)> {
    let mut told = Vec::new();
    for at in (from..to).step_by(10_000) {
        let changes = book.look(TimeMs(at), present, WINDOW);
        told.extend(changes.into_iter().map(|c| (at, c.concern.signature, c.wrong)));
    }
    told
}

/// As a restart leaves it.
fn restarted(book: &Book) -> Book {
    serde_json::from_str(&serde_json::to_string(book).unwrap()).unwrap()
}

#[test]
fn only_the_change_to_wrong_and_the_change_to_right_are_told() {
    let mut book = Book::default();
    let day = 24 * 60 * MINUTE;
    assert_eq!(told(&mut book, 0, day, &[warning("oak")]), [(WINDOW, "oak".into(), true)]);
    let right = told(&mut book, day, 2 * day, &[]);
    assert_eq!(right.iter().map(|t| t.2).collect::<Vec<_>>(), [false]);
    assert!(told(&mut book, 2 * day, 3 * day, &[]).is_empty());
}

#[test]
fn what_comes_and_goes_within_the_window_is_not_told() {
    let mut book = Book::default();
    assert!(told(&mut book, 0, 5 * MINUTE, &[warning("oak")]).is_empty());
    assert!(told(&mut book, 5 * MINUTE, 60 * MINUTE, &[]).is_empty());
    assert!(book.concerns.is_empty(), "nothing is left of it");
}

#[test]
fn changes_within_the_window_are_told_together() {
    let mut book = Book::default();
    assert!(told(&mut book, 0, 4 * MINUTE, &[warning("oak")]).is_empty());
    assert!(told(&mut book, 4 * MINUTE, 8 * MINUTE, &[warning("oak"), warning("elm")]).is_empty());
    let three = [warning("oak"), warning("elm"), warning("ash")];
    let when: Vec<u64> = told(&mut book, 8 * MINUTE, 60 * MINUTE, &three).iter().map(|t| t.0).collect();
    assert_eq!(when, [WINDOW; 3]);
}

#[test]
fn a_critical_concern_is_told_after_a_minute_and_takes_the_settled_ones_along() {
    let mut book = Book::default();
    assert!(told(&mut book, 0, 2 * MINUTE, &[warning("oak")]).is_empty());
    let both = [warning("oak"), concern("disk", Severity::Critical)];
    let told = told(&mut book, 2 * MINUTE, 30 * MINUTE, &both);
    let at = 3 * MINUTE;
    assert_eq!(told, [(at, "disk".into(), true), (at, "oak".into(), true)], "worst first, at once");
}

#[test]
fn a_drone_that_flaps_all_night_is_told_a_few_times_and_not_a_hundred() {
    let mut book = Book::default();
    let mut count = 0;
    for hour in 0..40 {
        let from = hour * 15 * 2 * MINUTE;
        count += told(&mut book, from, from + 15 * MINUTE, &[warning("oak")]).len();
        count += told(&mut book, from + 15 * MINUTE, from + 30 * MINUTE, &[]).len();
    }
    assert!((2..=4).contains(&count), "{count}");
}

#[test]
fn a_storm_of_concerns_is_at_most_two_messages_in_a_window() {
    let mut book = Book::default();
    let mut messages = Vec::new();
    for second in (0..3600).step_by(5) {
        // Every five seconds another thing breaks, every other one badly.
        let severity = |n: u64| if n.is_multiple_of(2) { Severity::Critical } else { Severity::Warning };
        let present: Vec<Concern> =
            (0..=second / 5).map(|n| concern(&format!("c{n}"), severity(n))).collect();
        if !book.look(TimeMs(second * 1000), &present, WINDOW).is_empty() {
            messages.push(second);
        }
    }
    assert!((6..=12).contains(&messages.len()), "{messages:?}");
}

#[test]
fn a_restart_neither_repeats_nor_loses() {
    let mut book = Book::default();
    assert_eq!(book.ended(&BTreeMap::from([(RunId(1), TimeMs(5))])), [], "before anybody was there to tell");
    told(&mut book, 0, 20 * MINUTE, &[warning("oak")]);
    book.post("phone", compose(TimeMs(0), &[&Change { concern: warning("oak"), wrong: true }]).unwrap());

    let mut book = restarted(&book);
    assert!(told(&mut book, 20 * MINUTE, 90 * MINUTE, &[warning("oak")]).is_empty(), "told already");
    let waiting = book.outboxes["phone"].due(TimeMs(0)).unwrap();
    assert_eq!(waiting.0.title, "oak: why");

    // It became right, and a run ended, while nobody looked.
    let mut book = restarted(&book);
    assert_eq!(told(&mut book, 90 * MINUTE, 120 * MINUTE, &[]).len(), 1);
    let runs = BTreeMap::from([(RunId(1), TimeMs(5)), (RunId(2), TimeMs(9))]);
    assert_eq!(book.ended(&runs), [RunId(2)]);
    assert_eq!(restarted(&book).ended(&runs), []);
    // Opened again by an admin, and ended once more.
    let runs = BTreeMap::from([(RunId(2), TimeMs(12))]);
    assert_eq!(book.ended(&runs), [RunId(2)]);
}

#[test]
fn what_the_end_of_a_run_has_told_is_not_told_again() {
    let mut book = Book::default();
    let present = [warning("packages of desk are quarantined"), warning("oak")];
    book.look(TimeMs(0), &present, WINDOW);
    book.told_otherwise(TimeMs(0), &[present[0].signature.clone()], &present);
    let later = told(&mut book, 0, 30 * MINUTE, &present);
    assert_eq!(later, [(WINDOW, "oak".into(), true)]);
    // The next run mends it and says so itself.
    book.told_otherwise(TimeMs(31 * MINUTE), &[present[0].signature.clone()], &[]);
    assert!(told(&mut book, 31 * MINUTE, 60 * MINUTE, &[warning("oak")]).is_empty());
}

#[test]
fn a_message_says_what_is_wrong_and_what_follows() {
    let (oak, elm) = (warning("oak is offline"), concern("elm is lost", Severity::Critical));
    let one = Change { concern: oak.clone(), wrong: true };
    let made = compose(TimeMs(0), &[&one]).unwrap();
    assert_eq!((made.title.as_str(), made.text.as_str()), ("oak is offline: why", "Next: wait"));
    let right = Change { concern: oak, wrong: false };
    assert_eq!(compose(TimeMs(0), &[&right]).unwrap().title, "right again: oak is offline");
    let made = compose(TimeMs(0), &[&Change { concern: elm, wrong: true }, &right]).unwrap();
    assert_eq!(made.severity, Severity::Critical);
    assert_eq!(made.title, "1 new concern, 1 right again");
    assert_eq!(made.text, "! elm is lost: why\n  wait\nright again: oak is offline");
}
