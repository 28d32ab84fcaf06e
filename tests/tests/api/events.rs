//! The journal as a stream.

use crate::{key, patient, stops_at_once};
use swarm_common::wire::view::EventView;
use swarm_tests::api::Swarm;

#[tokio::test]
async fn events_come_as_they_happen_and_resume_without_a_gap() {
    let swarm = Swarm::start().await.unwrap();
    let mut live = swarm.admin.events(None).await.unwrap();
    swarm.profile().await.unwrap();
    let run = swarm.run().await.unwrap();
    let mut seen: Vec<EventView> = Vec::new();
    while seen.last().is_none_or(|e| e.event["event"] != "run_started") {
        seen.push(live.next().await.unwrap().unwrap());
    }
    assert_eq!(seen.last().unwrap().event["run"], run.to_string());
    drop(live);

    swarm.admin.cancel_run(run, &key()).await.unwrap();
    let mut resumed = swarm.admin.events(Some(seen.last().unwrap().seq)).await.unwrap();
    let next = resumed.next().await.unwrap().unwrap();
    assert!(next.seq == seen.last().unwrap().seq + 1, "{next:?}");

    let mut all = swarm.admin.events(Some(0)).await.unwrap();
    for expected in 1..=next.seq {
        assert_eq!(all.next().await.unwrap().unwrap().seq, expected);
    }
}

// fault: 20
#[tokio::test]
async fn streams_waiting_claims_and_followed_logs_end_when_the_orchestrator_stops() {
    let swarm = Swarm::start_with(patient).await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    let mut events = swarm.admin.events(None).await.unwrap();
    let other = swarm.drone("two").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    let (_, order) = drone.build_order().await.unwrap();
    let mut log = swarm.admin.package_log(order.package, None, true).await.unwrap();
    let claim = tokio::spawn(async move { other.ask("k", 60_000).await });
    // The claim has arrived once its drone waits.
    while swarm.app.engine.read(|s| s.live.waiting.is_empty()) {
        tokio::task::yield_now().await;
    }
    stops_at_once(swarm).await;
    while let Some(_event) = events.next().await.unwrap() {}
    assert_eq!(log.next().await.unwrap(), None);
    let told = claim.await.unwrap();
    assert!(told.is_err() || told.unwrap().assignment.is_none());
}

#[tokio::test]
async fn a_last_event_id_that_is_no_number_is_refused() {
    let swarm = Swarm::start().await.unwrap();
    let bearer = format!("Bearer {}", swarm.admin_token());
    let headers = [("authorization", bearer.as_str()), ("last-event-id", "x")];
    let answer = swarm.raw().await.unwrap().ask("GET /api/v1/events", &headers, b"").await.unwrap();
    assert_eq!(answer.status, 400);
}
