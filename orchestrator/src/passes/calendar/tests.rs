//! The commands sent to the core, with the time as a parameter.

use super::*;
use jiff::Zoned;
use swarm_core::state::Forecast;

fn at(text: &str) -> TimeMs {
    TimeMs(text.parse::<Zoned>().unwrap().timestamp().as_millisecond().try_into().unwrap())
}

/// A schedule for 2:30 in Berlin, set at the given time.
fn set_at(now: TimeMs) -> Schedule {
    let times = DueTimes::read("30 2 * * *", "Europe/Berlin").unwrap();
    let forecast = times.forecast(now).unwrap();
    Schedule {
        cron: times.text().to_owned(),
        zone: times.zone().to_owned(),
        enabled: true,
        set_at: now,
        handled: forecast.next - 1,
        forecast,
        last: None,
        succeeded_at: None,
    }
}

/// Returns what is due at `wall` and records it as the core does.
fn look(schedule: &mut Schedule, wall: TimeMs) -> Option<TimeMs> {
    match command(&"desk".parse().unwrap(), schedule, wall).unwrap() {
        None => None,
        Some(Command::HandleDue { due, forecast, .. }) => {
            (schedule.handled, schedule.forecast) = (due, forecast);
            Some(due)
        }
        Some(Command::Foresee { forecast, .. }) => {
            schedule.forecast = forecast;
            schedule.handled = schedule.handled.min(forecast.next - 1);
            None
        }
        other => panic!("{other:?}"),
    }
}

/// The due times that passes find between two times, with a pass every ten minutes.
fn walk(schedule: &mut Schedule, from: &str, to: &str) -> Vec<TimeMs> {
    let (mut now, end) = (at(from), at(to));
    let mut found = Vec::new();
    while now <= end {
        found.extend(look(schedule, now));
        now = now + 600_000;
    }
    found
}

// fault: 25
#[test]
fn a_night_with_a_gap_and_one_with_an_overlap_have_one_run_each() {
    let mut schedule = set_at(at("2026-03-28T12:00[Europe/Berlin]"));
    let spring = walk(&mut schedule, "2026-03-28T12:00[Europe/Berlin]", "2026-03-30T01:00[Europe/Berlin]");
    assert_eq!(spring, [at("2026-03-29T03:00[Europe/Berlin]")]);
    let mut schedule = set_at(at("2026-10-24T12:00[Europe/Berlin]"));
    let autumn = walk(&mut schedule, "2026-10-24T12:00[Europe/Berlin]", "2026-10-26T01:00[Europe/Berlin]");
    assert_eq!(autumn, [at("2026-10-25T02:30+02:00[Europe/Berlin]")]);
}

#[test]
fn of_a_week_that_was_missed_the_last_night_is_made_up_for() {
    let mut schedule = set_at(at("2026-10-20T12:00[Europe/Berlin]"));
    let after = at("2026-10-27T14:00[Europe/Berlin]");
    assert_eq!(look(&mut schedule, after), Some(at("2026-10-27T02:30[Europe/Berlin]")));
    assert_eq!(look(&mut schedule, after), None);
    assert_eq!(schedule.forecast.next, at("2026-10-28T02:30[Europe/Berlin]"));
}

#[test]
fn a_clock_that_jumps_by_an_hour_either_way_doubles_nothing() {
    let hour = 3_600_000;
    for (jump_at, back) in
        [("2026-11-21T02:31", true), ("2026-11-21T03:10", true), ("2026-11-21T02:00", false)]
    {
        let jump_at = at(&format!("{jump_at}[Europe/Berlin]"));
        let mut schedule = set_at(at("2026-11-20T12:00[Europe/Berlin]"));
        let (mut wall, mut found) = (jump_at - hour, Vec::new());
        while wall <= jump_at {
            found.extend(look(&mut schedule, wall));
            wall = wall + 60_000;
        }
        wall = if back { wall - hour } else { wall + hour };
        for _ in 0..180 {
            found.extend(look(&mut schedule, wall));
            wall = wall + 60_000;
        }
        assert_eq!(found, [at("2026-11-21T02:30[Europe/Berlin]")], "{jump_at:?} {back}");
    }
}

#[test]
fn a_clock_that_was_years_ahead_does_not_stop_the_nights_for_years() {
    let mut schedule = set_at(at("2026-11-20T12:00[Europe/Berlin]"));
    assert!(look(&mut schedule, at("2031-01-01T00:00[Europe/Berlin]")).is_some());
    let found = walk(&mut schedule, "2026-11-20T13:00[Europe/Berlin]", "2026-11-22T01:00[Europe/Berlin]");
    assert_eq!(found, [at("2026-11-21T02:30[Europe/Berlin]")]);
}

#[test]
fn a_zone_whose_rules_changed_is_foreseen_anew_and_nothing_is_doubled() {
    let now = at("2026-11-20T12:00[Europe/Berlin]");
    let mut schedule = set_at(now);
    let right = schedule.forecast;
    schedule.forecast = Forecast { next: right.next + 3_600_000, ..right };
    assert_eq!(look(&mut schedule, now), None);
    assert_eq!(schedule.forecast, right);
}
