//! Which requests a standby answers, and which it does not.

use super::*;
use swarm_client::{ClientError, IdempotencyKey};
use swarm_common::{
    digest::Digest,
    wire::{admin::EnrolTokenRequest, drone::ClaimRequest},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_answers_what_is_read_and_sends_writers_to_the_leader() {
    let redis = Redis::start().unwrap();
    let house = House::on(&redis, 2).unwrap();
    let leader = house.client_of(&[0]).unwrap();
    let standby = house.client_of(&[1]).unwrap();
    let request = EnrolTokenRequest { valid_ms: 60_000, approved: true };
    let token = leader.make_enrol_token(&request, &IdempotencyKey::random().unwrap()).await.unwrap().token;

    let refused = standby.make_enrol_token(&request, &IdempotencyKey::random().unwrap()).await.unwrap_err();
    let ClientError::Problem(problem) = refused else { panic!("{refused}") };
    assert_eq!((problem.status, problem.kind.as_str()), (503, "/problems/standby"));
    assert!(problem.detail.contains(house.address(0)), "{}", problem.detail);
    // Uploads belong to the orchestrator that executes the command naming them.
    let archive = house.folder().join("archive");
    std::fs::write(&archive, "x").unwrap();
    let refused = standby.put_snapshot(Digest::of(b"x"), &archive).await.unwrap_err();
    assert_eq!(refused.status(), Some(503), "{refused}");
    let answer =
        reqwest::Client::new().post(format!("{}/api/v1/enrol", house.address(1))).send().await.unwrap();
    assert_eq!(answer.headers()["location"], house.address(0));
    // The standby does not call a credential unknown that it may not have read yet.
    let stranger = standby.with_credential(swarm_common::secret::Secret::new("new"));
    let claim = ClaimRequest { key: "k".into(), wait_ms: 0, memory_free_bytes: 0 };
    assert_eq!(stranger.claim(&claim).await.unwrap_err().status(), Some(503));

    // A client of both finds the leader, whichever it asks first.
    let both = house.client_of(&[1, 0]).unwrap();
    let drone = swarm_tests::api::FakeDrone::enrol(&both, &token, "drone").await.unwrap();
    let seq = leader.status().await.unwrap().journal_seq;
    let followed = async {
        while standby.status().await.unwrap().journal_seq < seq {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(swarm_tests::faults::house::SOON, followed).await.unwrap();
    let status = standby.status().await.unwrap();
    assert_eq!(status.standby.as_deref(), Some(house.address(0)));
    assert_eq!(status.drones.iter().map(|d| d.id).collect::<Vec<_>>(), [drone.id]);
    assert_eq!(leader.status().await.unwrap().standby, None);
    assert_eq!(ready(&house, 1).await.0, 200, "it is as it should be");
    assert_eq!(standby.audit().await.unwrap().faults, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_stopped_in_order_hands_over_at_once() {
    let redis = Redis::start().unwrap();
    // The lock lives far longer than the test waits for the takeover.
    let lock = house::SOON * 10;
    let mut house = House::with_lock(2, &format!("url = \"{}\"", redis.url()), lock).unwrap();
    house.start_all().unwrap();
    house.signal(0, rustix::process::Signal::TERM).unwrap();
    assert!(house.end(0).unwrap().success());
    house.wait_for_leader(&redis, 1).unwrap();
}
