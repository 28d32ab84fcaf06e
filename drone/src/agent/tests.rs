//! The agent's state machine.

mod delivery;

use super::{stopping::FORCED_STOP_GRACE_MS, *};
use swarm_common::{
    digest::Digest,
    id::*,
    state::{DroneState, FailureClass},
};

const T: u64 = 1_000_000;

fn agent_with(slots: u32) -> (Agent, Vec<Output>) {
    Agent::new(Timing::default(), slots, 1, TimeMs(T), vec![], false)
}

fn agent() -> (Agent, Vec<Output>) {
    agent_with(1)
}

fn assignment(attempt: u64) -> Assignment {
    Assignment {
        attempt: AttemptId(attempt),
        run: RunId(1),
        profile: "desk".parse().unwrap(),
        snapshot: Digest::of(b""),
        binhost: "/binhost/desk/runs/r1".into(),
        base: Default::default(),
        lease_ms: 60_000,
        limits: BuildLimits { build_timeout_ms: 1, silence_timeout_ms: 1, log_bytes: 1, jobs: 0 },
        work: Work::Plan,
    }
}

fn work(attempt: u64) -> Input {
    Input::ClaimAnswered(Some(ClaimReply { assignment: Some(assignment(attempt)), reason: None }))
}

fn built() -> ReportRequest {
    ReportRequest::new(Outcome::Built { artifacts: vec![Digest::of(b"x")] }, Usage::default())
}

fn answer() -> HeartbeatReply {
    HeartbeatReply {
        cancel: Vec::new(),
        kept: Vec::new(),
        state: DroneState::Online,
        now: TimeMs(T),
        name: None,
        facts_deferred: false,
    }
}

fn cancel(attempt: u64) -> Input {
    let cancel = vec![Cancellation { attempt: AttemptId(attempt), reason: "superseded".into() }];
    Input::HeartbeatAnswered(Some(HeartbeatReply { cancel, ..answer() }))
}

fn claim_key(outputs: &[Output]) -> Option<String> {
    outputs.iter().find_map(|o| match o {
        Output::Claim(request) => Some(request.key.clone()),
        _ => None,
    })
}

#[test]
fn it_starts_with_a_heartbeat_and_a_claim() {
    let (_, outputs) = agent();
    assert!(matches!(outputs[0], Output::Heartbeat { draining: false, .. }));
    assert!(claim_key(&outputs).is_some());
}

#[test]
fn a_claim_without_an_answer_is_repeated_with_its_key_and_an_answered_one_is_not() {
    let (mut agent, outputs) = agent();
    let first = claim_key(&outputs);
    assert_eq!(claim_key(&agent.step(TimeMs(T), Input::ClaimAnswered(None))), None);
    assert_eq!(claim_key(&agent.step(TimeMs(T + 5_000), Input::Tick)), first);
    let nothing = ClaimReply { assignment: None, reason: Some("no run".into()) };
    let next = claim_key(&agent.step(TimeMs(T + 40_000), Input::ClaimAnswered(Some(nothing))));
    assert!(next.is_some() && next != first);
}

#[test]
fn it_builds_one_thing_at_a_time_and_claims_again_while_it_uploads() {
    let (mut agent, _) = agent();
    let outputs = agent.step(TimeMs(T), work(7));
    assert!(matches!(outputs[..], [Output::Start(_)]));
    assert_eq!(claim_key(&agent.step(TimeMs(T + 60_000), Input::Tick)), None);
    let outputs = agent.step(TimeMs(T + 60_000), Input::BuildEnded(AttemptId(7), Some(built())));
    assert!(outputs.contains(&Output::Upload(AttemptId(7))));
    assert!(claim_key(&outputs).is_some());
}

#[test]
fn it_claims_one_after_the_other_until_all_its_slots_build() {
    let (mut agent, outputs) = agent_with(3);
    let mut keys = vec![claim_key(&outputs).unwrap()];
    for attempt in [7, 8] {
        let outputs = agent.step(TimeMs(T), work(attempt));
        assert!(matches!(&outputs[..], [Output::Start(a), _] if a.attempt == AttemptId(attempt)));
        keys.push(claim_key(&outputs).unwrap());
    }
    assert!(keys[0] != keys[1] && keys[1] != keys[2], "{keys:?}");
    assert!(matches!(agent.step(TimeMs(T), work(9))[..], [Output::Start(_)]), "all slots build");
    assert_eq!(agent.next_tick(), TimeMs(u64::MAX), "the answer to the heartbeat is awaited");
    let outputs = agent.step(TimeMs(T + 60_000), Input::BuildEnded(AttemptId(8), Some(built())));
    assert!(claim_key(&outputs).is_some(), "one is free");
}

#[test]
fn a_stop_kills_and_hands_back_what_every_slot_builds_and_a_cancellation_only_its_own() {
    let (mut agent, _) = agent_with(2);
    agent.step(TimeMs(T), work(7));
    agent.step(TimeMs(T), work(8));
    assert_eq!(agent.step(TimeMs(T), cancel(7)), [Output::Kill(AttemptId(7))]);
    agent.step(TimeMs(T), Input::BuildEnded(AttemptId(7), None));
    agent.step(TimeMs(T), work(9));
    agent.step(TimeMs(T), Input::StopRequested);
    let outputs = agent.step(TimeMs(T), Input::StopRequested);
    assert_eq!(outputs[..2], [Output::Kill(AttemptId(8)), Output::Kill(AttemptId(9))]);
    let outputs = agent.step(TimeMs(T), Input::BuildEnded(AttemptId(8), None));
    assert!(outputs.iter().any(
        |o| matches!(o, Output::Report(AttemptId(8), r) if matches!(r.outcome, Outcome::HandedBack { .. }))
    ));
    assert!(!outputs.contains(&Output::SignOff), "the other is still being killed");
}

#[test]
fn what_happens_while_a_heartbeat_is_on_its_way_is_told_right_after_it() {
    let (mut agent, _) = agent();
    agent.step(TimeMs(T), work(7));
    agent.step(TimeMs(T + 1), Input::PhaseReached(AttemptId(7), Phase::Building));
    let outputs = agent.step(TimeMs(T + 2), Input::HeartbeatAnswered(Some(answer())));
    let Output::Heartbeat { attempts, .. } = &outputs[0] else { panic!("{outputs:?}") };
    assert_eq!(attempts[0].phase, Phase::Building);
    assert_eq!(agent.step(TimeMs(T + 3), Input::HeartbeatAnswered(Some(answer()))), [], "and then no more");
}

#[test]
fn a_build_that_ends_at_once_is_followed_by_a_claim_at_once_and_an_answer_without_work_is_not() {
    let (mut agent, _) = agent();
    agent.step(TimeMs(T), work(7));
    assert!(claim_key(&agent.step(TimeMs(T + 1), Input::BuildEnded(AttemptId(7), Some(built())))).is_some());
    let nothing = ClaimReply { assignment: None, reason: Some("no run".into()) };
    let answered = Input::ClaimAnswered(Some(nothing));
    assert_eq!(claim_key(&agent.step(TimeMs(T + 2), answered)), None);
    assert_eq!(agent.next_tick(), TimeMs(T + 1 + CLAIM_SPACING_MS));
    assert!(claim_key(&agent.step(agent.next_tick(), Input::Tick)).is_some());
}

#[test]
fn a_result_is_spooled_then_uploaded_then_reported_then_forgotten() {
    let (mut agent, _) = agent();
    agent.step(TimeMs(T), work(7));
    let outputs = agent.step(TimeMs(T), Input::BuildEnded(AttemptId(7), Some(built())));
    assert_eq!(outputs[..2], [Output::Spool(AttemptId(7), Box::new(built())), Output::Upload(AttemptId(7))]);
    let outputs = agent.step(TimeMs(T), Input::UploadEnded(AttemptId(7), Delivery::Done));
    assert!(matches!(&outputs[..], [Output::Report(AttemptId(7), _)]));
    let outputs = agent.step(TimeMs(T), Input::ReportEnded(AttemptId(7), Delivery::Done));
    assert_eq!(outputs, [Output::Forget(AttemptId(7))]);
}

#[test]
fn a_cancelled_build_is_killed_and_forgotten() {
    let (mut agent, _) = agent();
    agent.step(TimeMs(T), work(7));
    assert!(agent.holds(AttemptId(7)));
    assert_eq!(agent.step(TimeMs(T + 60_000), cancel(7)), [Output::Kill(AttemptId(7))]);
    assert_eq!(
        agent.step(TimeMs(T + 60_000), Input::Tick),
        [],
        "nothing is begun beside what is being killed"
    );
    let outputs = agent.step(TimeMs(T + 60_000), Input::BuildEnded(AttemptId(7), None));
    assert_eq!(outputs[0], Output::Forget(AttemptId(7)));
    assert!(claim_key(&outputs).is_some() && !agent.holds(AttemptId(7)));
}

#[test]
fn every_attempt_is_named_in_every_heartbeat_until_it_is_acknowledged() {
    let (mut agent, _) = agent();
    agent.step(TimeMs(T), work(7));
    agent.step(TimeMs(T + 5_000), Input::BuildEnded(AttemptId(7), Some(built())));
    agent.step(TimeMs(T + 5_000), work(8));
    agent.step(TimeMs(T + 5_000), Input::HeartbeatAnswered(None));
    let outputs = agent.step(TimeMs(T + 15_000), Input::Tick);
    let named = outputs.iter().find_map(|o| match o {
        Output::Heartbeat { attempts, .. } => Some(attempts.iter().map(|a| a.attempt.0).collect::<Vec<_>>()),
        _ => None,
    });
    assert_eq!(named, Some(vec![7, 8]));
}

#[test]
fn the_first_stop_lets_the_build_finish_and_deliver() {
    let (mut agent, _) = agent();
    agent.step(TimeMs(T), work(7));
    assert!(!agent.step(TimeMs(T), Input::StopRequested).contains(&Output::Kill(AttemptId(7))));
    let outputs = agent.step(TimeMs(T + 9), Input::BuildEnded(AttemptId(7), Some(built())));
    assert_eq!(claim_key(&outputs), None);
    agent.step(TimeMs(T + 9), Input::UploadEnded(AttemptId(7), Delivery::Done));
    let outputs = agent.step(TimeMs(T + 9), Input::ReportEnded(AttemptId(7), Delivery::Done));
    assert_eq!(outputs, [Output::Forget(AttemptId(7))], "a heartbeat is on its way");
    assert_eq!(agent.step(TimeMs(T + 9), Input::HeartbeatAnswered(None)), [Output::SignOff]);
    assert_eq!(agent.step(TimeMs(T + 9), Input::SignedOff), [Output::Exit]);
}

#[test]
fn the_second_stop_or_the_time_out_kills_the_build_and_hands_it_back() {
    for times in [1, 2] {
        let (mut agent, _) = agent();
        agent.step(TimeMs(T), work(7));
        agent.step(TimeMs(T), Input::StopRequested);
        let at = if times == 2 { T } else { T + Timing::default().drain_timeout_ms };
        let input = if times == 2 { Input::StopRequested } else { Input::Tick };
        assert!(agent.step(TimeMs(at), input).contains(&Output::Kill(AttemptId(7))));
        let outputs = agent.step(TimeMs(at), Input::BuildEnded(AttemptId(7), None));
        let report = outputs.iter().find_map(|o| match o {
            Output::Report(_, report) => Some(&report.outcome),
            _ => None,
        });
        assert!(matches!(report, Some(Outcome::HandedBack { .. })), "{outputs:?}");
    }
}

#[test]
fn a_stopping_drone_does_not_wait_for_ever_for_an_orchestrator_that_is_away() {
    let (mut agent, _) = agent();
    agent.step(TimeMs(T), Input::ClaimAnswered(None));
    agent.step(TimeMs(T), Input::StopRequested);
    agent.step(TimeMs(T), Input::StopRequested);
    let outputs = agent.step(TimeMs(T + FORCED_STOP_GRACE_MS), Input::Tick);
    assert!(outputs.is_empty() || outputs.contains(&Output::SignOff));
    assert!(agent.stop.unwrap().signing_off);
}

#[test]
fn no_heartbeat_is_sent_with_or_after_the_sign_off() {
    let (mut agent, _) = agent();
    agent.step(TimeMs(T), Input::HeartbeatAnswered(None));
    agent.step(TimeMs(T), Input::ClaimAnswered(None));
    assert_eq!(agent.step(TimeMs(T + 1), Input::StopRequested), [Output::SignOff]);
    assert_eq!(agent.step(TimeMs(T + 60_000), Input::Tick), []);
    assert_eq!(agent.next_tick(), TimeMs(u64::MAX), "nothing is due but the answer");
    assert_eq!(agent.step(TimeMs(T + 60_000), Input::SignedOff), [Output::Exit]);
}

#[test]
fn work_that_arrives_while_stopping_is_handed_back() {
    let (mut agent, _) = agent();
    agent.step(TimeMs(T), Input::StopRequested);
    let outputs = agent.step(TimeMs(T), work(7));
    assert!(outputs.iter().any(|o| matches!(o, Output::Report(AttemptId(7), _))));
    assert!(!outputs.iter().any(|o| matches!(o, Output::Start(_))));
}

#[test]
fn an_agent_that_begins_drained_says_so_and_asks_for_nothing_until_it_is_resumed() {
    let (mut agent, outputs) = Agent::new(Timing::default(), 1, 1, TimeMs(T), vec![], true);
    assert!(matches!(&outputs[..], [Output::Heartbeat { draining: true, .. }]), "{outputs:?}");
    assert!(claim_key(&agent.step(TimeMs(T + 1), Input::ResumeRequested)).is_some());
}

#[test]
fn a_restarted_drone_delivers_its_spool_and_reports_what_was_cut_off() {
    let spool =
        vec![Recovered::Finished(AttemptId(5), Box::new(built())), Recovered::Unfinished(AttemptId(6))];
    let (_, outputs) = Agent::new(Timing::default(), 1, 2, TimeMs(T), spool, false);
    assert!(outputs.contains(&Output::Upload(AttemptId(5))));
    let lost = outputs.iter().any(|o| match o {
        Output::Report(AttemptId(6), r) => {
            matches!(&r.outcome, Outcome::Failed { failure } if failure.class == FailureClass::Lost)
        }
        _ => false,
    });
    assert!(lost, "{outputs:?}");
}

#[test]
fn a_paused_agent_finishes_what_it_builds_takes_nothing_more_and_works_again_when_resumed() {
    let (mut agent, _) = agent();
    agent.step(TimeMs(T), work(7));
    let outputs = agent.step(TimeMs(T), Input::PauseRequested);
    assert!(agent.is_building() && !outputs.contains(&Output::Kill(AttemptId(7))));
    let outputs = agent.step(TimeMs(T), Input::BuildEnded(AttemptId(7), Some(built())));
    assert!(outputs.contains(&Output::Upload(AttemptId(7))), "what was built is delivered");
    assert_eq!(claim_key(&outputs), None);
    assert_eq!(claim_key(&agent.step(TimeMs(T + 90_000), Input::Tick)), None);
    assert!(claim_key(&agent.step(TimeMs(T + 91_000), Input::ResumeRequested)).is_some());
}
