//! Due times across daylight saving changes, and invalid expressions.

use super::*;

fn at(text: &str) -> TimeMs {
    time(&text.parse::<Zoned>().unwrap()).unwrap()
}

fn berlin(text: &str) -> DueTimes {
    DueTimes::read(text, "Europe/Berlin").unwrap()
}

/// The due times between two moments in Berlin local time.
fn between(text: &str, from: &str, to: &str) -> Vec<String> {
    let due = berlin(text);
    let times = std::iter::successors(due.next(at(from)), |&t| due.next(t)).take_while(|&t| t < at(to));
    times.map(|t| due.zoned(t).unwrap().strftime("%d %H:%M %Z").to_string()).collect()
}

#[test]
fn half_past_three_stays_half_past_three_when_the_clocks_change() {
    let spring = between("30 3 * * *", "2026-03-28T00:00[Europe/Berlin]", "2026-03-31T00:00[Europe/Berlin]");
    assert_eq!(spring, ["28 03:30 CET", "29 03:30 CEST", "30 03:30 CEST"]);
    let autumn = between("30 3 * * *", "2026-10-24T00:00[Europe/Berlin]", "2026-10-27T00:00[Europe/Berlin]");
    assert_eq!(autumn, ["24 03:30 CEST", "25 03:30 CET", "26 03:30 CET"]);
}

#[test]
fn a_time_that_the_clock_leaves_out_is_due_once_at_the_end_of_the_gap() {
    let due = between("30 2 * * *", "2026-03-28T12:00[Europe/Berlin]", "2026-03-30T12:00[Europe/Berlin]");
    assert_eq!(due, ["29 03:00 CEST", "30 02:30 CEST"]);
}

#[test]
fn a_time_that_the_clock_shows_twice_is_due_once() {
    let due = between("30 2 * * *", "2026-10-24T12:00[Europe/Berlin]", "2026-10-26T12:00[Europe/Berlin]");
    assert_eq!(due, ["25 02:30 CEST", "26 02:30 CET"]);
    // In the second 2:30 hour the schedule is not due again, because it was due in the first.
    let second = at("2026-10-25T02:40+01:00[Europe/Berlin]");
    let first = at("2026-10-25T02:30+02:00[Europe/Berlin]");
    assert_eq!(berlin("30 2 * * *").last(second), Some(first));
    assert_eq!(berlin("30 2 * * *").next(first), Some(at("2026-10-26T02:30[Europe/Berlin]")));
}

#[test]
fn the_last_due_time_is_found_backwards_over_months_and_over_both_changes() {
    let due = berlin("30 3 * * *");
    let now = at("2026-11-21T03:29[Europe/Berlin]");
    assert_eq!(due.last(now), Some(at("2026-11-20T03:30[Europe/Berlin]")));
    assert_eq!(due.last(now + 60_000), Some(at("2026-11-21T03:30[Europe/Berlin]")));
    let gap = berlin("30 2 * * *");
    let after = at("2026-03-29T12:00[Europe/Berlin]");
    assert_eq!(gap.last(after), Some(at("2026-03-29T03:00[Europe/Berlin]")));
}

#[test]
fn forwards_and_backwards_agree_through_a_year() {
    for text in ["30 2 * * *", "0 3 * * MON-FRI", "15 */6 * * *", "0 2 1 * *", "45 1 L * *"] {
        let due = berlin(text);
        let mut now = at("2026-01-01T00:00[Europe/Berlin]");
        let end = at("2027-01-01T00:00[Europe/Berlin]");
        while now < end {
            let next = due.next(now).unwrap();
            assert!(next > now);
            assert_eq!(due.last(next), Some(next), "{text} at {next:?}");
            assert!(due.last(TimeMs(next.0 - 1)).is_none_or(|last| last <= now || last < next), "{text}");
            now = next;
        }
    }
}

#[test]
fn a_forecast_knows_the_longest_time_between_two_due_times() {
    let day = 24 * 3_600_000;
    let now = at("2026-11-21T12:00[Europe/Berlin]");
    let weekdays = berlin("0 3 * * MON-FRI").forecast(now).unwrap();
    assert_eq!(weekdays.next, at("2026-11-23T03:00[Europe/Berlin]"));
    assert_eq!(weekdays.period_ms, 3 * day);
    assert_eq!(berlin("@daily").forecast(now).unwrap().period_ms, day);
    assert_eq!(berlin("0 0 29 2 *").forecast(now).unwrap().next, at("2028-02-29T00:00[Europe/Berlin]"));
}

#[test]
fn what_is_no_schedule_is_refused_with_what_is_right() {
    let rejection = |text: &str, zone: &str| {
        let now = at("2026-11-21T12:00[Europe/Berlin]");
        DueTimes::read(text, zone).and_then(|d| d.forecast(now)).unwrap_err().to_string()
    };
    for (text, want) in [
        ("", "30 3 * * *"),
        ("30 3 * *", "expected 5 fields, got 4"),
        ("0 30 3 * * *", "expected 5 fields, got 6"),
        ("61 3 * * *", "30 3 * * *"),
        ("30 3 * * FUNDAY", "0 4 * * SAT"),
        ("@nightly", "30 3 * * *"),
        ("30 3 * * *; reboot", "30 3 * * *"),
        ("0 0 31 2 *", "never due: no such day exists"),
        ("0 0 31 4,6,9,11 *", "never due"),
        ("* * * * *", "due every 60 s"),
        ("0,5 3 * * *", "due every 300 s"),
    ] {
        let rejection = rejection(text, "Europe/Berlin");
        assert!(rejection.contains(want), "{text}: {rejection}");
    }
    for (zone, want) in [
        ("Europe/Berlyn", "did you mean `Europe/Berlin`?"),
        ("", "Europe/Berlin"),
        ("../../etc/passwd", "unknown time zone"),
        ("CEST+17", "unknown time zone"),
        ("Mars/Olympus_Mons", "unknown time zone"),
    ] {
        let rejection = rejection("30 3 * * *", zone);
        assert!(rejection.contains(want), "{zone}: {rejection}");
    }
    assert!(DueTimes::read(&"9".repeat(5000), "UTC").unwrap_err().to_string().len() < 600);
}

#[test]
fn names_of_zones_are_kept_as_the_database_has_them() {
    assert_eq!(DueTimes::read("30 3 * * *", "europe/berlin").unwrap().zone(), "Europe/Berlin");
    assert_eq!(DueTimes::read("30  3 * *\t*", "UTC").unwrap().text(), "30 3 * * *");
    assert_eq!(DueTimes::read("30 3 * * *", "utc").unwrap().zone(), "UTC");
}
