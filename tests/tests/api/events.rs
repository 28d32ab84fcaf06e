//! The journal as an event stream.

use crate::{key, patient, stops_at_once};
use swarm_common::{
    state::{FailureClass, Phase},
    wire::{
        drone::{Failure, Outcome},
        event::{AnyEventKind, EventFacts, EventKind, EventView},
    },
};
use swarm_orchestrator::http::openapi;
use swarm_tests::api::{Document, Swarm};

/// The events in the journal so far.
async fn so_far(swarm: &Swarm) -> Vec<EventView> {
    let last = swarm.admin.status().await.unwrap().journal_seq;
    let mut stream = swarm.admin.events(Some(0)).await.unwrap();
    let mut events: Vec<EventView> = Vec::new();
    while events.last().is_none_or(|event| event.seq < last) {
        events.push(stream.next().await.unwrap().unwrap());
    }
    events
}

#[tokio::test]
async fn events_name_what_they_are_about_and_no_secret_and_no_plan() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    let (attempt, order) = drone.build_order().await.unwrap();
    let failure = Failure {
        class: FailureClass::Infra,
        cause: None,
        phase: Phase::Fetching,
        signature: "no route".into(),
        message: "no route to host".into(),
    };
    drone.report(attempt, Outcome::Failed { failure: failure.clone() }).await.unwrap();
    let events = so_far(&swarm).await;
    let of = |kind| -> &EventFacts {
        let found =
            events.iter().map(|event| &event.event).rfind(|facts| facts.kind == AnyEventKind::Known(kind));
        found.unwrap_or_else(|| panic!("no {kind}: {events:?}"))
    };
    let enrolled = of(EventKind::DroneEnrolled);
    assert_eq!((enrolled.drone, enrolled.name.as_ref().unwrap().as_str()), (Some(drone.id), "one"));
    let planned = of(EventKind::PlanReceived);
    assert_eq!((planned.run, planned.packages), (of(EventKind::RunStarted).run, Some(1)));
    let delegated = EventFacts::of(EventKind::PackageDelegated).package(order.package).attempt(attempt);
    assert_eq!(*of(EventKind::PackageDelegated), delegated.drone(drone.id));
    let failed = of(EventKind::AttemptFailed);
    assert_eq!((failed.attempt, failed.failure.as_ref()), (Some(attempt), Some(&failure)));
    let needed = of(EventKind::PackageNeeded);
    assert!(needed.reason.as_ref().unwrap().contains("no route"));
    assert_eq!(needed.cause.as_deref(), Some("failed"));

    let document = Document::new(openapi::document());
    for event in &events {
        assert!(matches!(event.event.kind, AnyEventKind::Known(_)), "{event:?}");
        let json = serde_json::to_value(event).unwrap();
        assert_eq!(document.faults(document.schema("EventView"), &json, "event"), [""; 0]);
        let text = json.to_string();
        assert!(!text.contains("hash") && !text.contains("use_flags") && text.len() < 2000, "{text}");
    }
}

#[tokio::test]
async fn events_come_as_they_happen_and_resume_without_a_gap() {
    let swarm = Swarm::start().await.unwrap();
    let mut live = swarm.admin.events(None).await.unwrap();
    swarm.profile().await.unwrap();
    let run = swarm.run().await.unwrap();
    let mut seen: Vec<EventView> = Vec::new();
    while seen.last().is_none_or(|e| e.event.kind != AnyEventKind::Known(EventKind::RunStarted)) {
        seen.push(live.next().await.unwrap().unwrap());
    }
    assert_eq!(seen.last().unwrap().event.run, Some(run));
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
    let reply = claim.await.unwrap();
    assert!(reply.is_err() || reply.unwrap().assignment.is_none());
}

#[tokio::test]
async fn a_last_event_id_that_is_no_number_is_refused() {
    let swarm = Swarm::start().await.unwrap();
    let bearer = format!("Bearer {}", swarm.admin_token());
    let headers = [("authorization", bearer.as_str()), ("last-event-id", "x")];
    let answer = swarm.raw().await.unwrap().ask("GET /api/v1/events", &headers, b"").await.unwrap();
    assert_eq!(answer.status, 400);
}
