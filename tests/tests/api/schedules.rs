//! Scheduled runs and the pause: the real orchestrator with a clock that the test moves.

use crate::{key, refused};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use swarm_client::ClientError;
use swarm_common::{
    id::RunId,
    state::*,
    time::TimeMs,
    wire::{calendar::*, drone::Work, view::StatusView},
};
use swarm_orchestrator::engine::Clock;
use swarm_tests::api::{PROFILE, Swarm, name};

/// 2026-03-28, noon in Berlin, where daylight saving time begins in the following night.
const NOON: TimeMs = TimeMs(1_774_695_600_000);
/// The end of that night's gap: 03:00, summer time.
const GAP: TimeMs = TimeMs(1_774_746_000_000);
/// Half past two in the next night.
const NEXT: TimeMs = TimeMs(1_774_830_600_000);
const HOUR: u64 = 3_600_000;

/// A clock that a test moves.
struct Hands(AtomicU64);

impl Hands {
    fn move_to(&self, now: TimeMs) {
        self.0.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn now(&self) -> TimeMs {
        TimeMs(self.0.load(Ordering::SeqCst))
    }
}

/// A swarm at noon, with a profile.
async fn at_noon() -> (Swarm, Arc<Hands>) {
    let hands = Arc::new(Hands(AtomicU64::new(NOON.0)));
    let swarm = Swarm::start_at(Some(hands.clone()), |_| {}).await.unwrap();
    swarm.profile().await.unwrap();
    (swarm, hands)
}

async fn set(swarm: &Swarm, cron: &str, zone: &str) -> Result<ScheduleView, ClientError> {
    let request = ScheduleRequest { cron: cron.into(), zone: zone.into(), enabled: true };
    swarm.admin.put_schedule(&name(PROFILE), &request, &key()).await
}

/// A schedule at half past two in Berlin.
async fn nightly(swarm: &Swarm) -> ScheduleView {
    set(swarm, "30 2 * * *", "Europe/Berlin").await.unwrap()
}

/// Polls the status until it satisfies `condition`.
async fn until(swarm: &Swarm, what: &str, condition: impl Fn(&StatusView) -> bool) -> StatusView {
    swarm_tests::api::until(what, async || Some(swarm.admin.status().await.unwrap()).filter(&condition)).await
}

/// Moves the clock and waits until the schedules have been checked after that.
async fn pass_at(swarm: &Swarm, hands: &Hands, now: TimeMs) -> StatusView {
    hands.move_to(now);
    let looked = |s: &StatusView| s.passes.iter().any(|p| p.name == "schedule" && p.last_run >= now);
    until(swarm, "a pass", looked).await
}

async fn only(swarm: &Swarm) -> ScheduleView {
    swarm.admin.schedules().await.unwrap().remove(0)
}

#[tokio::test]
async fn the_night_without_half_past_two_has_its_run_and_the_next_is_not_doubled() {
    let (swarm, hands) = at_noon().await;
    let made = nightly(&swarm).await;
    assert_eq!(made.upcoming[..2], [GAP, NEXT]);
    pass_at(&swarm, &hands, GAP - 1000).await;
    assert!(swarm.admin.runs().await.unwrap().is_empty());
    hands.move_to(GAP);
    let status = until(&swarm, "started", |s| !s.runs.is_empty()).await;
    assert_eq!((status.runs[0].id, status.runs[0].class), (RunId(1), RunClass::Nightly));
    let last = only(&swarm).await.last.unwrap();
    assert_eq!((last.due, last.run, last.state), (GAP, Some(RunId(1)), Some(RunState::Planning)));
    // The run hangs until the next night.
    hands.move_to(NEXT);
    let status =
        until(&swarm, "skipped", |s| s.concerns.iter().any(|c| c.what.contains("still running"))).await;
    assert_eq!(status.runs.len(), 1);
    let schedule = only(&swarm).await;
    let why = schedule.last.unwrap().skipped.unwrap();
    assert_eq!(why, "run r1, started 23 h 30 min earlier, is still running");
    assert_eq!(schedule.upcoming[0], NEXT + 24 * HOUR);
}

// fault: 26
#[tokio::test]
async fn a_night_that_the_orchestrator_missed_is_made_up_for_once() {
    let (swarm, hands) = at_noon().await;
    nightly(&swarm).await;
    let later = hands.clone();
    let swarm = swarm.restart_after(move |_| later.move_to(NEXT + 5 * HOUR)).await.unwrap();
    until(&swarm, "made up for", |s| !s.runs.is_empty()).await;
    let last = only(&swarm).await.last.unwrap();
    assert_eq!((last.due, last.at), (NEXT, NEXT + 5 * HOUR));
    swarm.admin.cancel_run(RunId(1), &key()).await.unwrap();
    pass_at(&swarm, &hands, NEXT + 6 * HOUR).await;
    let swarm = swarm.restart().await.unwrap();
    pass_at(&swarm, &hands, NEXT + 7 * HOUR).await;
    assert_eq!(swarm.admin.runs().await.unwrap().len(), 1);
    // A removed schedule starts no more runs.
    swarm.admin.remove_schedule(&name(PROFILE), &key()).await.unwrap();
    pass_at(&swarm, &hands, NEXT + 48 * HOUR).await;
    assert_eq!(swarm.admin.runs().await.unwrap().len(), 1);
    assert_eq!(refused(swarm.admin.remove_schedule(&name(PROFILE), &key()).await), 404);
}

#[tokio::test]
async fn a_pause_holds_up_the_run_that_is_due_in_it_and_ends_by_itself() {
    let (swarm, hands) = at_noon().await;
    let drone = swarm.drone("one").await.unwrap();
    nightly(&swarm).await;
    hands.move_to(GAP - HOUR);
    let request = PauseRequest { for_ms: 2 * HOUR, reason: "the fuse".into() };
    let pause = swarm.admin.pause(&request, &key()).await.unwrap();
    assert_eq!(pause.until, GAP + HOUR);
    hands.move_to(GAP);
    let status = until(&swarm, "started", |s| !s.runs.is_empty()).await;
    assert_eq!(status.pause, Some(pause));
    let reason = "the swarm is paused for another 1 h: the fuse";
    assert!(status.concerns.iter().any(|c| c.what == reason), "{:?}", status.concerns);
    assert_eq!(status.runs[0].reason.clone().unwrap(), format!("waiting for its plan: {reason}"));
    assert_eq!(drone.ask("k1", 0).await.unwrap().reason.as_deref(), Some(reason));
    // A waiting claim is woken when the pause is over.
    let waiting = async { drone.ask("k2", 20_000).await.unwrap() };
    let (reply, ()) = tokio::join!(waiting, async { hands.move_to(GAP + HOUR) });
    assert_eq!(reply.assignment.expect("work after the pause").work, Work::Plan);
    until(&swarm, "over", |s| s.pause.is_none()).await;

    swarm.admin.pause(&request, &key()).await.unwrap();
    swarm.admin.unpause(&key()).await.unwrap();
    swarm.admin.unpause(&key()).await.unwrap();
    assert_eq!(swarm.admin.status().await.unwrap().pause, None);
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_what_can() {
    let (swarm, _) = at_noon().await;
    for (cron, zone, want) in [
        ("30 3 * *", "UTC", "expected 5 fields"),
        ("0 0 31 2 *", "UTC", "never due"),
        ("30 3 * * *", "Europe/Berlyn", "did you mean `Europe/Berlin`?"),
        ("* * * * *", "UTC", "minimum interval is 10 min"),
    ] {
        let refusal = set(&swarm, cron, zone).await;
        let message = format!("{refusal:?}");
        assert_eq!(refused(refusal), 422, "{cron} {zone}");
        assert!(message.contains(want), "{message}");
    }
    let request = ScheduleRequest { cron: "0 0 * * *".into(), zone: "UTC".into(), enabled: true };
    assert_eq!(refused(swarm.admin.put_schedule(&name("none"), &request, &key()).await), 404);
    for (for_ms, reason) in [(0, ""), (8 * 24 * HOUR, ""), (HOUR, "two\nlines")] {
        let request = PauseRequest { for_ms, reason: reason.into() };
        assert_eq!(refused(swarm.admin.pause(&request, &key()).await), 422, "{for_ms} {reason:?}");
    }
    assert!(swarm.admin.schedules().await.unwrap().is_empty());
}
