//! Clocks that are wrong, and an orchestrator that was suspended.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::kit::{Kit, name};
use swarm_common::{
    digest::Digest,
    state::{DroneState, RunState},
    time::TimeMs,
    wire::{calendar::ScheduleRequest, concern::ConcernKind, drone::*},
};
use swarm_core::{Command, state::Forecast, view};

const HOUR: u64 = 3_600_000;

/// A swarm that started with a clock `ahead_ms` ahead and has a running build, and whose clock is then
/// corrected.
fn set_right(ahead_ms: i64) -> (Kit, DroneAtWork) {
    let mut kit = Kit::new(&["oak"]);
    kit.now = TimeMs(1_000_000_000_u64.saturating_add_signed(ahead_ms));
    kit.must(Command::StartOrchestrator);
    let drone = *kit.swarm.drones.keys().next().unwrap();
    kit.run(&["a-1", "b-1"], &[]);
    let work = kit.claim(drone).unwrap();
    kit.now = kit.now + 20_000;
    kit.heartbeat(drone, &[work.attempt]);
    kit.must(Command::SetClock { by_ms: -ahead_ms });
    kit.now = TimeMs(1_000_020_000);
    (kit, DroneAtWork { drone, work })
}

struct DroneAtWork {
    drone: swarm_common::id::DroneId,
    work: Assignment,
}

// fault: 58
#[test]
fn a_clock_that_is_set_either_way_loses_no_lease_and_dates_nothing_in_the_future() {
    for ahead_ms in [2 * HOUR as i64, 365 * 24 * HOUR as i64, -8 * (HOUR as i64)] {
        let (mut kit, DroneAtWork { drone, work }) = set_right(ahead_ms);
        kit.must(Command::Maintain);
        let (attempt, run) = (&kit.swarm.attempts[&work.attempt], kit.swarm.runs.values().next().unwrap());
        assert!(attempt.is_live(), "{ahead_ms}: {:?}", attempt.ending);
        assert_eq!((run.started_at, attempt.started_at), (TimeMs(1_000_000_000), TimeMs(1_000_000_000)));
        assert_eq!(kit.swarm.at, kit.now);
        assert_eq!(view::concerns(&kit.swarm, kit.now, kit.now, &[]), [], "{ahead_ms}");
        // The lease ends when it would have ended, and silence counts from the last heartbeat.
        kit.now = kit.now + kit.swarm.policy.offline_after_ms + kit.swarm.policy.startup_grace_ms + 1;
        kit.must(Command::Maintain);
        assert_eq!(kit.swarm.drones[&drone].state(), DroneState::Offline, "{ahead_ms}");
    }
}

#[test]
fn what_was_noted_before_the_wrong_clock_stays_where_it_was() {
    let mut kit = Kit::new(&["oak"]);
    let drone = *kit.swarm.drones.keys().next().unwrap();
    let run = kit.run(&["a-1"], &[]);
    let work = kit.claim(drone).unwrap();
    kit.deliver(drone, &work).unwrap();
    let before = (kit.swarm.runs[&run].started_at, kit.swarm.runs[&run].ended_at);
    assert_eq!(kit.swarm.runs[&run].state, RunState::Succeeded);
    let right = kit.now + 60_000;
    kit.now = right + 2 * HOUR;
    kit.must(Command::StartOrchestrator);
    kit.must(Command::SetClock { by_ms: -2 * HOUR as i64 });
    kit.now = right;
    assert_eq!((kit.swarm.runs[&run].started_at, kit.swarm.runs[&run].ended_at), before);
    assert_eq!(kit.swarm.live.started_at, right);
}

// fault: 58
#[test]
fn a_due_time_is_overdue_by_the_machines_clock_alone() {
    let mut kit = Kit::new(&["oak"]);
    let due = kit.now + 24 * HOUR;
    let request = ScheduleRequest { cron: "0 3 * * *".into(), zone: "UTC".into(), enabled: true };
    let forecast = Forecast { next: due, period_ms: 24 * HOUR };
    kit.must(Command::PutSchedule { profile: name("desk"), request, forecast });
    kit.now = kit.now + 10 * 60_000;
    let ahead = due + HOUR;
    assert_eq!(view::alarms(&kit.swarm, ahead, kit.now), [], "the engine's times are ahead");
    let alarms = view::alarms(&kit.swarm, kit.now, ahead);
    assert!(
        alarms.iter().any(|fact| matches!(fact, ConcernKind::RunOverdue { late_ms, .. } if *late_ms == HOUR)),
        "{alarms:?}"
    );
}

// fault: 58
#[test]
fn an_orchestrator_that_stood_still_counts_no_silence_of_that_time() {
    let mut kit = Kit::new(&["oak"]);
    let drone = *kit.swarm.drones.keys().next().unwrap();
    kit.run(&["a-1"], &[]);
    let work = kit.claim(drone).unwrap();
    kit.now = kit.now + kit.swarm.policy.startup_grace_ms;
    kit.heartbeat(drone, &[work.attempt]);
    kit.now = kit.now + HOUR;
    kit.must(Command::NoteStandstill { for_ms: HOUR });
    kit.must(Command::Maintain);
    assert!(kit.swarm.attempts[&work.attempt].is_live());
    assert_eq!(kit.swarm.drones[&drone].state(), DroneState::Online);
    // From then on, silence counts.
    kit.now = kit.now + kit.swarm.policy.offline_after_ms + 1;
    kit.must(Command::Maintain);
    assert_eq!(kit.swarm.drones[&drone].state(), DroneState::Offline);
}

// fault: 58
#[test]
fn a_machine_that_slept_keeps_its_leases_and_its_past() {
    let mut kit = Kit::new(&["oak", "elm"]);
    kit.must(Command::StartOrchestrator);
    let run = kit.run(&["a-1", "b-1"], &[]);
    let drones: Vec<_> = kit.swarm.drones.keys().copied().collect();
    let work = kit.claim(drones[0]).unwrap();
    kit.pass(kit.swarm.policy.idle_alarm_ms / 2, &drones);
    kit.must(Command::IssueEnrolToken { token_hash: Digest::of(b"a"), valid_ms: 600_000, approved: true });
    kit.heartbeat(drones[0], &[work.attempt]);
    let (run_began, began) = (kit.swarm.runs[&run].started_at, kit.swarm.attempts[&work.attempt].started_at);
    let lease = kit.swarm.live.leases[&work.attempt];

    kit.now = kit.now + 8 * HOUR;
    kit.must(Command::NoteStandstill { for_ms: 8 * HOUR });
    kit.must(Command::Maintain);
    assert!(kit.swarm.attempts[&work.attempt].is_live());
    assert_eq!(kit.swarm.live.leases[&work.attempt], lease + 8 * HOUR);
    assert_eq!(kit.swarm.runs[&run].started_at, run_began);
    assert_eq!(kit.swarm.attempts[&work.attempt].started_at, began);
    assert!(!kit.swarm.tokens.contains_key(&Digest::of(b"a")), "it was valid for ten minutes");
    // Nobody is at fault if no drone asked for work meanwhile.
    assert_eq!(view::concerns(&kit.swarm, kit.now, kit.now, &[]), []);
}
