//! Due times, the pause, and alarms for events that should happen but do not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::kit::{Kit, name};
use swarm_common::{
    id::*,
    state::*,
    time::TimeMs,
    wire::{
        admin::ProfileRequest,
        calendar::{ScheduleRequest, TimerRequest},
        concern::{Action, Concern, ConcernKind},
    },
};
use swarm_core::{
    Command, Reason, Refusal,
    state::{DueOutcome, Forecast},
    text,
    view::{self, AlarmKind},
};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

fn forecast(next: TimeMs) -> Forecast {
    Forecast { next, period_ms: DAY }
}

/// A swarm whose runs are due every day, for the first time in an hour. Returns that time.
fn nightly(kit: &mut Kit) -> TimeMs {
    let due = kit.now + HOUR;
    put(kit, due, true);
    due
}

fn put(kit: &mut Kit, due: TimeMs, enabled: bool) {
    let request = ScheduleRequest { cron: "30 3 * * *".into(), zone: "Europe/Berlin".into(), enabled };
    kit.must(Command::PutSchedule { profile: name("desk"), request, forecast: forecast(due) });
}

/// Reports that a time is due, as the shell does.
fn due(kit: &mut Kit, due: TimeMs) {
    let next = forecast(due + DAY);
    kit.must(Command::HandleDue { profile: name("desk"), due, forecast: next });
}

fn outcome(kit: &Kit) -> DueOutcome {
    kit.swarm.schedules[&name("desk")].last.clone().unwrap().outcome
}

fn alarm(kit: &Kit, kind: AlarmKind) -> Option<Concern> {
    let alarms = view::alarms(&kit.swarm, kit.now, kit.now);
    alarms.into_iter().find(|fact| AlarmKind::of(fact) == Some(kind)).map(view::concern)
}

#[test]
fn a_due_time_starts_one_run_however_often_it_is_said() {
    let mut kit = Kit::new(&["a"]);
    let first = nightly(&mut kit);
    let backwards = Command::HandleDue { profile: name("desk"), due: first, forecast: forecast(first) };
    assert!(matches!(kit.send(backwards), Err(Refusal::Invalid(_))));
    kit.now = first;
    due(&mut kit, first);
    assert_eq!(outcome(&kit), DueOutcome::Started(RunId(1)));
    assert_eq!(kit.swarm.runs[&RunId(1)].class, RunClass::Nightly);
    kit.must(Command::CancelRun(RunId(1)));
    due(&mut kit, first);
    assert_eq!(kit.swarm.runs.len(), 1);
    assert_eq!(view::schedules(&kit.swarm)[0].upcoming, [first + DAY]);
    let [next] = &view::status(&kit.swarm, kit.now, kit.now, "1", &[]).upcoming[..] else { panic!("one") };
    assert_eq!((&next.profile, next.due), (&name("desk"), first + DAY));
}

// fault: 26
#[test]
fn a_run_that_was_missed_is_made_up_for_once() {
    let mut kit = Kit::new(&["a"]);
    let first = nightly(&mut kit);
    // Three due times passed while the orchestrator was down. The shell reports the last one.
    kit.now = first + 2 * DAY + 5 * HOUR;
    kit.must(Command::StartOrchestrator);
    due(&mut kit, first + 2 * DAY);
    kit.must(Command::CancelRun(RunId(1)));
    due(&mut kit, first + 2 * DAY);
    due(&mut kit, first);
    assert_eq!(kit.swarm.runs.len(), 1);
    let view = view::schedules(&kit.swarm).remove(0);
    let last = view.last.unwrap();
    assert_eq!((last.due, last.at), (first + 2 * DAY, kit.now));
    assert_eq!((last.run, last.state), (Some(RunId(1)), Some(RunState::Cancelled)));
}

// fault: 27
#[test]
fn a_run_that_is_still_going_is_not_doubled_and_that_is_told() {
    let mut kit = Kit::new(&["a"]);
    let first = nightly(&mut kit);
    kit.run(&["x-1"], &[]);
    kit.now = first;
    due(&mut kit, first);
    let DueOutcome::Skipped(reason) = outcome(&kit) else { panic!("a second run") };
    assert_eq!(reason, Reason::StillRunning { run: RunId(1), age_ms: HOUR });
    let reason = text::reason(&reason);
    assert_eq!(reason, "run r1, started 1 h earlier, is still running");
    assert_eq!(kit.swarm.runs.len(), 1);
    kit.now = first + 10 * MINUTE;
    let concern = alarm(&kit, AlarmKind::Skipped).unwrap();
    assert_eq!(concern.what, format!("the run of desk scheduled 10 min ago was skipped: {reason}"));
    assert_eq!(
        concern.next,
        "the next run is due in 23 h 50 min; `swarmctl run cancel` ends the one under way"
    );
}

#[test]
fn what_was_due_while_a_schedule_was_off_or_another_is_not_made_up_for() {
    let mut kit = Kit::new(&["a"]);
    let first = nightly(&mut kit);
    put(&mut kit, first, false);
    kit.now = first + MINUTE;
    due(&mut kit, first);
    assert!(kit.swarm.runs.is_empty() && view::schedules(&kit.swarm)[0].upcoming.is_empty());
    assert_eq!(view::status(&kit.swarm, kit.now, kit.now, "1", &[]).upcoming, []);
    put(&mut kit, first + DAY, true);
    due(&mut kit, first);
    assert!(kit.swarm.runs.is_empty());
    assert!(view::alarms(&kit.swarm, kit.now, kit.now).is_empty());
}

#[test]
fn a_schedule_needs_a_profile_and_goes_with_it() {
    let mut kit = Kit::new(&["a"]);
    let request = ScheduleRequest { cron: "0 0 * * *".into(), zone: "UTC".into(), enabled: true };
    let put = Command::PutSchedule { profile: name("none"), request, forecast: forecast(kit.now) };
    assert!(matches!(kit.send(put), Err(Refusal::UnknownProfile(_))));
    let none = kit.send(Command::RemoveSchedule(name("desk"))).unwrap_err();
    assert!(none.to_string().contains("swarmctl schedule set desk"), "{none}");
    nightly(&mut kit);
    kit.must(Command::RemoveProfile(name("desk")));
    assert!(kit.swarm.schedules.is_empty());
}

#[test]
fn a_pause_hands_out_nothing_says_why_and_ends_by_itself() {
    let mut kit = Kit::new(&["a", "b"]);
    kit.run(&["x-1", "y-1"], &[]);
    let at_work = kit.claim(DroneId(1)).unwrap();
    kit.must(Command::Pause { for_ms: 2 * HOUR, reason: "the power is off".into() });
    let reply = kit.claim_reply(DroneId(2), "k");
    assert_eq!(reply.reason.as_deref(), Some("the swarm is paused for another 2 h: the power is off"));
    assert!(reply.assignment.is_none());
    assert!(kit.deliver(DroneId(1), &at_work).unwrap().accepted, "running builds continue");
    let concern = alarm(&kit, AlarmKind::Paused).unwrap();
    assert!(concern.what.contains("2 h") && concern.next.contains("swarmctl unpause"), "{concern:?}");
    let status = view::status(&kit.swarm, kit.now, kit.now, "1", &[]);
    assert_eq!(status.pause.unwrap().until, kit.now + 2 * HOUR);

    kit.pass(2 * HOUR, &[DroneId(1), DroneId(2)]);
    assert_eq!(kit.swarm.pause, None);
    assert!(kit.claim(DroneId(2)).is_some());
    assert!(alarm(&kit, AlarmKind::Idle).is_none(), "nobody could do anything meanwhile");
}

#[test]
fn a_pause_without_an_end_is_refused_and_one_can_be_ended_early() {
    let mut kit = Kit::new(&["a"]);
    for for_ms in [0, 8 * DAY, u64::MAX] {
        let refusal = kit.send(Command::Pause { for_ms, reason: String::new() }).unwrap_err();
        assert!(refusal.to_string().contains("1 s to 7 d"), "{refusal}");
    }
    kit.must(Command::Pause { for_ms: DAY, reason: String::new() });
    kit.must(Command::Unpause);
    kit.must(Command::Unpause);
    assert_eq!(kit.swarm.pause, None);
}

#[test]
fn a_run_that_is_due_in_a_pause_is_started_and_waits() {
    let mut kit = Kit::new(&["a"]);
    let first = nightly(&mut kit);
    kit.must(Command::Pause { for_ms: 2 * HOUR, reason: String::new() });
    kit.now = first;
    due(&mut kit, first);
    let run = view::run(&kit.swarm, kit.now, RunId(1)).unwrap();
    assert_eq!(run.reason.unwrap(), "waiting for its plan: the swarm is paused for another 1 h");
    assert!(kit.claim(DroneId(1)).is_none());
    kit.pass(HOUR, &[DroneId(1)]);
    assert!(kit.claim(DroneId(1)).is_some());
}

#[test]
fn a_due_run_that_nobody_starts_is_an_alarm() {
    let mut kit = Kit::new(&["a"]);
    let first = nightly(&mut kit);
    kit.now = first + 4 * MINUTE;
    assert!(alarm(&kit, AlarmKind::Overdue).is_none());
    kit.now = first + 12 * MINUTE;
    let concern = alarm(&kit, AlarmKind::Overdue).unwrap();
    assert_eq!(concern.what, "a run of desk was due 12 min ago and has not started");
    due(&mut kit, first);
    assert!(alarm(&kit, AlarmKind::Overdue).is_none());
    // After a start there is time for the first check.
    kit.now = first + 3 * DAY;
    kit.must(Command::StartOrchestrator);
    assert!(alarm(&kit, AlarmKind::Overdue).is_none());
}

#[test]
fn two_periods_without_a_success_are_an_alarm_that_names_the_last_run() {
    let mut kit = Kit::new(&["a"]);
    let first = nightly(&mut kit);
    kit.now = first;
    due(&mut kit, first);
    let plan = kit.claim(DroneId(1)).unwrap();
    kit.must(Command::CancelRun(RunId(1)));
    assert!(kit.heartbeat(DroneId(1), &[plan.attempt]).cancel.len() == 1);
    kit.now = first + 2 * DAY;
    due(&mut kit, first + DAY);
    let concern = alarm(&kit, AlarmKind::Stale).unwrap();
    let what =
        "no run of desk has succeeded for 2 d 1 h, though one is due every 1 d; the last, r2, is planning";
    assert_eq!(concern.what, what);
    assert_eq!(concern.action, Some(Action::ShowRun { run: RunId(2) }));
    kit.must(Command::CancelRun(RunId(2)));
    kit.run(&["x-1"], &[]);
    let got = kit.claim(DroneId(1)).unwrap();
    kit.deliver(DroneId(1), &got).unwrap();
    assert_eq!(alarm(&kit, AlarmKind::Stale), None);
    assert_eq!(view::schedules(&kit.swarm)[0].succeeded_at, Some(kit.now));
}

#[test]
fn needed_work_beside_a_drone_that_has_stopped_asking_is_an_alarm() {
    let mut kit = Kit::new(&["a", "b"]);
    kit.run(&["x-1", "y-1"], &[]);
    kit.pass(9 * MINUTE, &[DroneId(1), DroneId(2)]);
    assert!(alarm(&kit, AlarmKind::Idle).is_none());
    kit.pass(3 * MINUTE, &[DroneId(1), DroneId(2)]);
    let concern = alarm(&kit, AlarmKind::Idle).unwrap();
    let what = "run r1 of desk has had 2 packages to assign for 12 min, while a is idle: it does not ask for \
         work";
    assert!(matches!(concern.fact, ConcernKind::DroneIdle { run: RunId(1), packages: 2, .. }), "{concern:?}");
    assert_eq!(concern.what, what);
    // One drone works and the other is silent, which counts as idle.
    let got = kit.claim(DroneId(1)).unwrap();
    assert!(alarm(&kit, AlarmKind::Idle).is_none());
    kit.pass(12 * MINUTE, &[DroneId(1), DroneId(2)]);
    assert!(alarm(&kit, AlarmKind::Idle).unwrap().what.contains("while b is idle"));
    kit.deliver(DroneId(1), &got).unwrap();
    assert!(alarm(&kit, AlarmKind::Idle).is_none());
}

#[test]
fn a_drone_that_only_just_came_is_not_idle_and_one_that_waits_for_a_faster_is_not_either() {
    let mut kit = Kit::new(&["a"]);
    kit.run(&["x-1", "y-1"], &[]);
    kit.pass(HOUR, &[]);
    assert_eq!(kit.drone_state(DroneId(1)), DroneState::Offline);
    assert!(alarm(&kit, AlarmKind::Idle).is_none());
    kit.heartbeat(DroneId(1), &[]);
    assert!(alarm(&kit, AlarmKind::Idle).is_none());
    kit.claim(DroneId(1)).unwrap();
    let b = kit.enrol("b");
    kit.swarm.drones.get_mut(&b).unwrap().speed_permille = 1;
    for n in 0..40 {
        kit.pass(MINUTE / 2, &[DroneId(1), b]);
        let reply = kit.claim_reply(b, &format!("slow-{n}"));
        assert!(reply.reason.unwrap().starts_with("held back"));
    }
    assert!(alarm(&kit, AlarmKind::Idle).is_none());
}

// fault: 64
#[test]
fn a_timer_that_stays_away_for_twice_its_interval_is_missed_until_it_runs_or_is_to_run_no_more() {
    let mut kit = Kit::new(&["a"]);
    let timer = |every_ms| {
        let timer = TimerRequest { every_ms, machine: name("nas") };
        Command::NoteTimer { profile: name("desk"), timer }
    };
    kit.now = kit.now + 30 * DAY;
    assert_eq!(alarm(&kit, AlarmKind::Silent), None, "nobody said that a timer updates it");
    kit.must(timer(DAY));
    kit.now = kit.now + 2 * DAY;
    assert_eq!(alarm(&kit, AlarmKind::Silent), None);
    kit.now = kit.now + HOUR;
    let concern = alarm(&kit, AlarmKind::Silent).unwrap();
    assert_eq!(
        concern.what,
        "the timer on nas that updates desk has not run for 2 d 1 h, though it runs every 1 d"
    );
    assert!(concern.next.contains("on nas that runs `swarmctl profile update desk`"), "{}", concern.next);
    // Manual actions of an admin do not prove that the timer runs.
    let request = kit.swarm.profiles[&name("desk")].request.clone();
    kit.must(Command::PutProfile {
        name: name("desk"),
        request: ProfileRequest { source: "new".into(), ..request },
    });
    assert!(alarm(&kit, AlarmKind::Silent).is_some());
    // It runs again, on another machine and less often.
    let timer_of_oak = TimerRequest { every_ms: 7 * DAY, machine: name("oak") };
    kit.must(Command::NoteTimer { profile: name("desk"), timer: timer_of_oak });
    kit.now = kit.now + 14 * DAY;
    assert_eq!(alarm(&kit, AlarmKind::Silent), None);
    kit.now = kit.now + MINUTE;
    assert!(alarm(&kit, AlarmKind::Silent).unwrap().what.starts_with("the timer on oak "));
    kit.must(Command::RemoveTimer(name("desk")));
    assert_eq!(alarm(&kit, AlarmKind::Silent), None);
    let seq = kit.swarm.seq;
    kit.must(Command::RemoveTimer(name("desk")));
    assert_eq!(kit.swarm.seq, seq, "nothing is journaled twice");

    for every_ms in [0, MINUTE - 1, 367 * DAY] {
        assert!(matches!(kit.send(timer(every_ms)), Err(Refusal::Invalid(_))), "{every_ms}");
    }
    let unknown = Command::RemoveTimer(name("none"));
    assert!(matches!(kit.send(unknown), Err(Refusal::UnknownProfile(_))));
}
