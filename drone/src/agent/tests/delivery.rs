//! Deliveries that fail, stall, are blocked, or have nothing left to deliver.

use super::{super::delivery::LONGEST_WISH_MS, *};
use swarm_common::wire::plan::PlanReport;

fn full() -> Delivery {
    Delivery::Failed { why: "the disk is full".into(), arrived: 0, after_ms: 0 }
}

fn blocked(arrived: u64) -> Delivery {
    Delivery::Blocked { why: "HTTP 413".into(), arrived }
}

/// The failure that the drone reports instead of its result. The drone spools it first.
fn instead(outputs: &[Output]) -> Option<Failure> {
    let [Output::Spool(_, spooled), .., Output::Report(_, report)] = outputs else { return None };
    assert_eq!(spooled, report);
    match &report.outcome {
        Outcome::Failed { failure } => Some(failure.clone()),
        _ => None,
    }
}

#[test]
fn delivery_is_tried_for_ever_with_growing_pauses() {
    let (mut agent, _) = agent();
    agent.step(TimeMs(T), work(7));
    agent.step(TimeMs(T), Input::BuildEnded(AttemptId(7), Some(built())));
    let mut now = TimeMs(T);
    let mut last_pause = 0;
    for tries in 0..40 {
        agent.step(now, Input::UploadEnded(AttemptId(7), full()));
        let due = agent.items[&AttemptId(7)].due_at().unwrap();
        last_pause = due.since(now);
        assert!(last_pause <= 75_000, "try {tries}: {last_pause}");
        now = due;
        let outputs = agent.step(now, Input::Tick);
        assert!(outputs.contains(&Output::Upload(AttemptId(7))), "try {tries}");
    }
    assert!(last_pause >= 45_000);
    // A lack of space on the orchestrator is reported as well.
    let stuck = agent.items[&AttemptId(7)].stuck(now).unwrap();
    assert_eq!((stuck.for_ms, stuck.why.as_str()), (now.since(TimeMs(T)), "the disk is full"));
}

#[test]
fn a_delivery_waits_as_long_as_the_orchestrator_asks_within_limits() {
    let (mut agent, _) = agent();
    agent.step(TimeMs(T), work(7));
    agent.step(TimeMs(T), Input::BuildEnded(AttemptId(7), Some(built())));
    for (asked, waits) in [(30_000, 30_000), (u64::MAX, LONGEST_WISH_MS)] {
        let busy = Delivery::Failed { why: "busy".into(), arrived: 0, after_ms: asked };
        agent.step(TimeMs(T), Input::UploadEnded(AttemptId(7), busy));
        assert_eq!(agent.items[&AttemptId(7)].due_at(), Some(TimeMs(T + waits)));
    }
}

#[test]
fn files_that_something_on_the_way_stops_are_told_of_and_given_up_after_their_time() {
    let (mut agent, _) = agent();
    let attempt = AttemptId(7);
    agent.step(TimeMs(T), work(7));
    agent.step(TimeMs(T), Input::BuildEnded(attempt, Some(built())));
    let try_at = |agent: &mut Agent, ms, arrived| {
        agent.step(TimeMs(T + ms), Input::UploadEnded(attempt, blocked(arrived)))
    };
    let limit = Timing::default().blocked_ms;
    try_at(&mut agent, 0, 0);
    try_at(&mut agent, limit - 1, 0);
    let stuck = agent.items[&attempt].stuck(TimeMs(T + limit - 1)).unwrap();
    assert_eq!((stuck.for_ms, stuck.why.as_str()), (limit - 1, "HTTP 413"));
    // The time starts again when more bytes arrive, and while the orchestrator itself is unreachable.
    try_at(&mut agent, limit, 1000);
    assert_eq!(agent.items[&attempt].stuck(TimeMs(T + limit)).unwrap().for_ms, 0);
    agent.step(TimeMs(T + limit + 5), Input::HeartbeatAnswered(None));
    let outputs = try_at(&mut agent, 2 * limit + 4, 1000);
    assert!(!outputs.iter().any(|output| matches!(output, Output::Report(..))), "{outputs:?}");
    let outputs = try_at(&mut agent, 2 * limit + 5, 1000);
    let failure = instead(&outputs).unwrap_or_else(|| panic!("{outputs:?}"));
    assert_eq!(failure.class, FailureClass::Infra);
    assert!(failure.message.contains("30 min: HTTP 413"), "{failure:?}");
    let outputs = agent.step(TimeMs(T + 2 * limit + 6), Input::ReportEnded(attempt, Delivery::Done));
    assert!(outputs.contains(&Output::Forget(attempt)), "{outputs:?}");
}

#[test]
fn files_that_the_orchestrator_lost_are_sent_again() {
    let (mut agent, _) = agent();
    agent.step(TimeMs(T), work(7));
    agent.step(TimeMs(T), Input::BuildEnded(AttemptId(7), Some(built())));
    agent.step(TimeMs(T), Input::UploadEnded(AttemptId(7), Delivery::Done));
    agent.step(TimeMs(T), Input::ReportEnded(AttemptId(7), Delivery::FilesMissing));
    assert!(agent.step(TimeMs(T + 5_000), Input::Tick).contains(&Output::Upload(AttemptId(7))));
}

#[test]
fn neither_other_errors_nor_lost_heartbeats_restart_the_time_of_what_is_blocked() {
    let (mut agent, _) = agent();
    let (attempt, limit) = (AttemptId(7), Timing::default().blocked_ms);
    agent.step(TimeMs(T), work(7));
    agent.step(TimeMs(T), Input::BuildEnded(attempt, Some(built())));
    agent.step(TimeMs(T), Input::UploadEnded(attempt, blocked(0)));
    // One heartbeat in four is lost, and every other try reaches an orchestrator without space.
    let mut lost_ms = 0;
    for tried in 1..1000 {
        let now = TimeMs(T + tried * 10_000);
        let answer = (tried % 4 != 0).then(answer);
        lost_ms += if answer.is_none() { 10_000 } else { 0 };
        agent.step(now, Input::HeartbeatAnswered(answer));
        let delivery = if tried % 2 == 0 { blocked(0) } else { full() };
        let outputs = agent.step(now, Input::UploadEnded(attempt, delivery));
        let Some(failure) = instead(&outputs) else { continue };
        assert_eq!(failure.class, FailureClass::Infra);
        assert!(now.since(TimeMs(T)).abs_diff(limit + lost_ms) <= 20_000, "{}", now.since(TimeMs(T)));
        return;
    }
    panic!("it is never given up");
}

#[test]
fn a_plan_that_is_blocked_gives_way_to_a_small_report_which_is_sent_for_ever() {
    let (mut agent, _) = agent();
    let (attempt, limit) = (AttemptId(7), Timing::default().blocked_ms);
    let plan = PlanReport::empty(Digest::of(b"toolchain"));
    let planned = Outcome::Planned { plan };
    agent.step(TimeMs(T), work(7));
    let report = ReportRequest::new(planned, Usage::default());
    agent.step(TimeMs(T), Input::BuildEnded(attempt, Some(report)));
    agent.step(TimeMs(T), Input::ReportEnded(attempt, blocked(0)));
    let outputs = agent.step(TimeMs(T + limit), Input::ReportEnded(attempt, blocked(0)));
    assert!(instead(&outputs).is_some(), "{outputs:?}");
    for lives in [1, 2, 3] {
        let outputs = agent.step(TimeMs(T + lives * 2 * limit), Input::ReportEnded(attempt, blocked(0)));
        assert_eq!(instead(&outputs), None);
    }
    let stuck = agent.items[&attempt].stuck(TimeMs(T + 6 * limit)).unwrap();
    assert_eq!((stuck.for_ms, stuck.why.as_str()), (4 * limit, "HTTP 413"));
}

#[test]
fn a_result_that_cannot_be_read_is_reported_as_damaged_at_the_third_try() {
    let (mut agent, _) = agent();
    agent.step(TimeMs(T), work(7));
    agent.step(TimeMs(T), Input::BuildEnded(AttemptId(7), Some(built())));
    let broken = || Input::UploadEnded(AttemptId(7), Delivery::Broken { why: "EIO".into() });
    assert_eq!(instead(&agent.step(TimeMs(T), broken())), None);
    assert_eq!(instead(&agent.step(TimeMs(T + 5_000), broken())), None);
    let failure = instead(&agent.step(TimeMs(T + 10_000), broken())).unwrap();
    assert_eq!((failure.class, failure.message.contains("EIO")), (FailureClass::Drone, true), "{failure:?}");
    let (_, outputs) = Agent::new(
        Timing::default(),
        1,
        1,
        TimeMs(T),
        vec![Recovered::Damaged(AttemptId(8), "not JSON".into())],
        false,
    );
    assert!(outputs.iter().any(|output| matches!(output, Output::Spool(AttemptId(8), _))), "{outputs:?}");
    assert!(outputs.iter().any(|output| matches!(output, Output::Report(AttemptId(8), _))), "{outputs:?}");
}

#[test]
fn a_result_that_the_orchestrator_may_want_later_is_kept_and_sent_when_it_does() {
    let (mut agent, _) = agent();
    let attempt = AttemptId(7);
    let keep =
        |kept: &[AttemptId]| Input::HeartbeatAnswered(Some(HeartbeatReply { kept: kept.into(), ..answer() }));
    agent.step(TimeMs(T), work(7));
    agent.step(TimeMs(T), Input::BuildEnded(attempt, Some(built())));
    agent.step(TimeMs(T), Input::UploadEnded(attempt, full()));
    // One heartbeat at the start, and one when the build ends.
    agent.step(TimeMs(T), keep(&[attempt]));
    agent.step(TimeMs(T), keep(&[attempt]));
    assert_eq!(agent.status_text(), "waiting for work");
    let mut now = TimeMs(T);
    for n in 0..1000 {
        now = now + 10_000;
        let outputs = agent.step(now, Input::Tick);
        assert!(
            outputs.iter().all(|output| matches!(output, Output::Heartbeat { .. } | Output::Claim(_))),
            "{outputs:?}"
        );
        let reported =
            outputs.iter().any(|o| matches!(o, Output::Heartbeat { attempts, .. } if attempts.len() == 1));
        assert!(reported, "{n}: {outputs:?}");
        // A lost answer changes nothing.
        agent.step(now, if n % 3 == 0 { Input::HeartbeatAnswered(None) } else { keep(&[attempt]) });
        agent.step(now, Input::ClaimAnswered(None));
    }
    let outputs = agent.step(now, keep(&[]));
    assert!(outputs.contains(&Output::Upload(attempt)), "{outputs:?}");
    agent.step(now, Input::UploadEnded(attempt, full()));
    agent.step(now, keep(&[attempt]));
    assert_eq!(agent.step(now, cancel(7))[0], Output::Forget(attempt));
}

#[test]
fn a_drone_that_stops_does_not_wait_for_what_it_keeps() {
    let spool = vec![Recovered::Finished(AttemptId(7), Box::new(built()))];
    let (mut agent, _) = Agent::new(Timing::default(), 1, 1, TimeMs(T), spool, true);
    let kept = vec![AttemptId(7)];
    agent.step(TimeMs(T), Input::HeartbeatAnswered(Some(HeartbeatReply { kept, ..answer() })));
    agent.step(TimeMs(T), Input::UploadEnded(AttemptId(7), full()));
    let outputs = agent.step(TimeMs(T), Input::StopRequested);
    assert!(outputs.contains(&Output::SignOff), "{outputs:?}");
}
