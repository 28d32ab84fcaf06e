//! Requests that are repeated because their response was lost.

use crate::{key, refused};
use swarm_common::{
    state::RunClass,
    wire::admin::{EnrolTokenRequest, StartRunRequest},
};
use swarm_tests::api::{FakeDrone, PROFILE, Swarm, name};

#[tokio::test]
async fn a_run_that_is_started_twice_with_one_key_is_one_run() {
    let swarm = Swarm::start().await.unwrap();
    swarm.profile().await.unwrap();
    let request = StartRunRequest { profile: name(PROFILE), class: RunClass::Nightly };
    let key = key();
    let first = swarm.admin.start_run(&request, &key).await.unwrap();
    assert_eq!(swarm.admin.start_run(&request, &key).await.unwrap(), first);
    // The same after a restart, and after the run has ended.
    let swarm = swarm.restart().await.unwrap();
    swarm.admin.cancel_run(first.run, &crate::key()).await.unwrap();
    assert_eq!(swarm.admin.start_run(&request, &key).await.unwrap(), first);
    assert_eq!(swarm.admin.runs().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_key_answers_only_the_request_that_it_came_with() {
    let swarm = Swarm::start().await.unwrap();
    swarm.profile().await.unwrap();
    let request = StartRunRequest { profile: name(PROFILE), class: RunClass::Nightly };
    let key = key();
    let run = swarm.admin.start_run(&request, &key).await.unwrap().run;
    swarm.admin.cancel_run(run, &key).await.unwrap();
    assert!(swarm.admin.run(run).await.unwrap().ended_at.is_some(), "the cancellation was done");
}

#[tokio::test]
async fn a_token_that_is_asked_for_twice_with_one_key_is_one_that_works() {
    let swarm = Swarm::start().await.unwrap();
    let request = EnrolTokenRequest { valid_ms: 60_000, approved: true };
    let key = key();
    let first = swarm.admin.make_enrol_token(&request, &key).await.unwrap().token;
    let second = swarm.admin.make_enrol_token(&request, &key).await.unwrap().token;
    assert_eq!(first, second);
    let other = swarm.admin.make_enrol_token(&request, &crate::key()).await.unwrap().token;
    assert_ne!(first, other);
    FakeDrone::enrol(&swarm.nobody().unwrap(), &second, "one").await.unwrap();
    // The token was used; the repeated request does not make it valid again.
    let third = swarm.admin.make_enrol_token(&request, &key).await.unwrap().token;
    let nobody = swarm.nobody().unwrap();
    let enrol = swarm_common::wire::drone::EnrolRequest {
        token: third,
        name: name("two"),
        facts: swarm_tests::api::facts(),
        credential_hash: None,
    };
    assert_eq!(refused(nobody.enrol(&enrol).await), 403);
}

#[tokio::test]
async fn a_key_without_an_end_is_refused() {
    let swarm = Swarm::start().await.unwrap();
    let bearer = format!("Bearer {}", swarm.admin_token());
    let long = "k".repeat(129);
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", long.as_str())];
    let answer = swarm.raw().await.unwrap().ask("POST /api/v1/runs", &headers, b"{}").await.unwrap();
    assert_eq!(answer.status, 422);
}
