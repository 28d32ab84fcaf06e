//! Drones and admins of a newer version, which send fields that this version does not know.

use crate::key;
use serde_json::{Value, json};
use swarm_common::{
    digest::Digest,
    secret::Secret,
    wire::{
        admin::EnrolTokenRequest,
        drone::{ClaimReply, EnrolReply, UploadStatus, Work},
    },
};
use swarm_tests::api::{Answer, FakeDrone, Swarm, facts};

async fn ask(swarm: &Swarm, line: &str, token: &str, body: Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let mut raw = swarm.raw().await.unwrap();
    let headers = [("authorization", bearer.as_str())];
    raw.ask(line, &headers, &serde_json::to_vec(&body).unwrap()).await.unwrap()
}

// fault: 44
#[tokio::test]
async fn a_drone_may_send_fields_that_the_orchestrator_does_not_know_and_an_admin_may_not() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    swarm.run().await.unwrap();
    let heartbeat = json!({
        "vitals": { "load1": 0, "memory_free_bytes": 0, "disk_free_bytes": 0, "temperature": 41 },
        "attempts": [], "draining": false, "boot_id": "b", "weather": { "rain": [] },
    });
    let answer = ask(&swarm, "POST /api/v1/heartbeat", &drone.credential, heartbeat).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let claim = json!({ "key": "k", "wait_ms": 0, "memory_free_bytes": 1, "mood": "good" });
    let answer = ask(&swarm, "POST /api/v1/claim", &drone.credential, claim).await;
    let reply: ClaimReply = serde_json::from_slice(&answer.body).unwrap();
    let plan = reply.assignment.expect("the plan");
    assert!(matches!(plan.work, Work::Plan), "{plan:?}");
    let report = json!({
        "outcome": { "kind": "failed", "why": 1, "failure": {
            "class": "infra", "phase": "preparing", "signature": "s", "message": "m", "hint": "none",
        } },
        "usage": { "wall_ms": 1, "cpu_ms": 1, "peak_memory_bytes": 1, "watts": 9 },
        "moon": 4,
    });
    let answer =
        ask(&swarm, &format!("POST /api/v1/attempts/{}/report", plan.attempt), &drone.credential, report)
            .await;
    assert_eq!(answer.status, 200, "{answer:?}");

    // An unknown field from a person is a typing error and must not do something other than intended.
    let pause = json!({ "for_ms": 60_000, "reason": "r", "untill": "6:00" });
    let answer = ask(&swarm, "POST /api/v1/pause", &swarm.admin_token(), pause).await;
    let body = String::from_utf8(answer.body).unwrap();
    assert!(answer.status == 422 && body.contains("unknown field `untill`"), "{body}");
    assert!(swarm.admin.status().await.unwrap().pause.is_none());
}

// fault: 44
#[tokio::test]
async fn a_newer_drone_enrols_announces_a_file_and_signs_off() {
    let swarm = Swarm::start().await.unwrap();
    let request = EnrolTokenRequest { valid_ms: 60_000, approved: true };
    let token = swarm.admin.make_enrol_token(&request, &key()).await.unwrap().token;
    let mut facts = serde_json::to_value(facts()).unwrap();
    facts["gpu"] = json!({ "cores": 64 });
    let body = json!({ "token": token, "name": "one", "facts": facts, "language": "de" });
    let answer = ask(&swarm, "POST /api/v1/enrol", "", body).await;
    let EnrolReply { drone, credential } = serde_json::from_slice(&answer.body).unwrap();
    let credential = credential.unwrap();
    let client = swarm.nobody().unwrap().with_credential(Secret::new(&credential));
    let drone = FakeDrone { client, id: drone, credential };
    swarm.planned(&drone).await.unwrap();

    let work = drone.work().await.unwrap();
    let Work::Build(order) = &work.work else { panic!("{work:?}") };
    let digest = Digest::of(b"a file");
    let file = json!({ "digest": digest, "size": 6, "target": order.targets[0].id(), "parts": [1, 2] });
    let line = format!("POST /api/v1/attempts/{}/uploads", work.attempt);
    let answer = ask(&swarm, &line, &drone.credential, file).await;
    let status: UploadStatus = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(status, UploadStatus { offset: 0, verified: false });

    let farewell = json!({ "reason": "an update", "until": "6:00" });
    let answer = ask(&swarm, "POST /api/v1/sign-off", &drone.credential, farewell).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(swarm.admin.drones().await.unwrap()[0].reason.contains("an update"));
}
