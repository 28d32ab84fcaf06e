//! Enrolment.

use crate::{key, refused};
use std::time::Duration;
use swarm_client::{Client, ClientError};
use swarm_common::{
    digest::Digest,
    secret::Secret,
    state::DroneState,
    wire::{
        admin::EnrolTokenRequest,
        drone::{ClaimRequest, EnrolRequest, Work},
    },
};
use swarm_tests::api::{FakeDrone, Swarm, facts, name};

fn request(token: &str, called: &str) -> EnrolRequest {
    EnrolRequest { token: token.to_owned(), name: name(called), facts: facts(), credential_hash: None }
}

async fn token(admin: &Client) -> String {
    let request = EnrolTokenRequest { valid_ms: 60_000, approved: false };
    admin.make_enrol_token(&request, &key()).await.unwrap().token
}

#[tokio::test]
async fn a_machine_enrols_waits_for_approval_and_then_gets_work() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.enrol("slow", false).await.unwrap();
    swarm.profile().await.unwrap();
    swarm.run().await.unwrap();
    let reply = drone.ask("k1", 0).await.unwrap();
    assert!(reply.assignment.is_none() && reply.reason.unwrap().contains("approve"));
    assert_eq!(swarm.admin.drones().await.unwrap()[0].state, DroneState::Pending);

    swarm.admin.approve_drone(drone.id, &key()).await.unwrap();
    assert_eq!(drone.work().await.unwrap().work, Work::Plan);
    assert_eq!(swarm.admin.drones().await.unwrap()[0].state, DroneState::Online);
}

#[tokio::test]
async fn a_token_works_once() {
    let swarm = Swarm::start().await.unwrap();
    let token = token(&swarm.admin).await;
    let nobody = swarm.nobody().unwrap();
    FakeDrone::enrol(&nobody, &token, "one").await.unwrap();
    assert_eq!(refused(nobody.enrol(&request(&token, "two")).await), 403);
    assert_eq!(refused(nobody.enrol(&request("enrol-guess", "two")).await), 403);
    assert_eq!(swarm.admin.drones().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_enrolment_whose_answer_was_lost_is_repeated_with_its_credential_and_gets_the_same_drone() {
    let swarm = Swarm::start().await.unwrap();
    let nobody = swarm.nobody().unwrap();
    let secret = "drone-made-by-itself";
    let credential_hash = Some(Digest::of(secret.as_bytes()));
    let first = EnrolRequest { credential_hash, ..request(&token(&swarm.admin).await, "one") };
    let reply = nobody.enrol(&first).await.unwrap();
    assert_eq!(reply.credential, None, "the machine has it");
    assert_eq!(nobody.enrol(&first).await.unwrap().drone, reply.drone);
    // With another name or another credential, it counts as another machine with a used token.
    let renamed = EnrolRequest { name: name("two"), ..first.clone() };
    let another = EnrolRequest { credential_hash: Some(Digest::of(b"another")), ..first.clone() };
    for request in [renamed, another] {
        assert_eq!(refused(nobody.enrol(&request).await), 403);
    }
    assert_eq!(swarm.admin.drones().await.unwrap().len(), 1);
    let request = ClaimRequest { key: "k".into(), wait_ms: 0, memory_free_bytes: 0 };
    nobody.with_credential(Secret::new(secret)).claim(&request).await.unwrap();
}

#[tokio::test]
async fn a_drone_that_was_removed_is_told_so_and_one_that_nobody_knows_is_not() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.enrol("one", true).await.unwrap();
    swarm.admin.remove_drone(drone.id, &key()).await.unwrap();
    let kind = |reply: Result<_, ClientError>| match reply {
        Err(ClientError::Problem(problem)) => (problem.status, problem.kind),
        other => panic!("{other:?}"),
    };
    let removed = kind(drone.ask("k", 0).await);
    assert_eq!(removed, (401, "/problems/drone-removed".into()));
    let request = ClaimRequest { key: "k".into(), wait_ms: 0, memory_free_bytes: 0 };
    let stranger = drone.client.with_credential(Secret::new("drone-of-nobody"));
    assert_eq!(kind(stranger.claim(&request).await), (401, "/problems/unknown-credential".into()));
}

#[tokio::test]
async fn a_token_ends_with_its_time() {
    let swarm = Swarm::start().await.unwrap();
    let brief = EnrolTokenRequest { valid_ms: 1, approved: false };
    let token = swarm.admin.make_enrol_token(&brief, &key()).await.unwrap().token;
    let made_at = swarm.app.engine.now();
    while swarm.app.engine.now().since(made_at) < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(refused(swarm.nobody().unwrap().enrol(&request(&token, "one")).await), 403);
}

#[tokio::test]
async fn a_token_that_would_be_valid_for_ever_is_refused() {
    let swarm = Swarm::start().await.unwrap();
    for valid_ms in [0, u64::MAX] {
        let request = EnrolTokenRequest { valid_ms, approved: true };
        assert_eq!(refused(swarm.admin.make_enrol_token(&request, &key()).await), 422);
    }
}

#[tokio::test]
async fn a_name_that_is_taken_is_refused_and_the_token_stays_good() {
    let swarm = Swarm::start().await.unwrap();
    let nobody = swarm.nobody().unwrap();
    FakeDrone::enrol(&nobody, &token(&swarm.admin).await, "one").await.unwrap();
    let second = token(&swarm.admin).await;
    assert_eq!(refused(nobody.enrol(&request(&second, "one")).await), 409);
    FakeDrone::enrol(&nobody, &second, "two").await.unwrap();
}

#[tokio::test]
async fn a_machine_that_tells_a_novel_about_itself_is_refused() {
    let swarm = Swarm::start().await.unwrap();
    let token = token(&swarm.admin).await;
    let mut request = request(&token, "one");
    request.facts.machine_id = "x".repeat(10_000);
    assert_eq!(refused(swarm.nobody().unwrap().enrol(&request).await), 422);
}

// fault: 31
#[tokio::test]
async fn neither_token_nor_credential_is_stored_anywhere() {
    let swarm = Swarm::start().await.unwrap();
    let token = token(&swarm.admin).await;
    let drone = FakeDrone::enrol(&swarm.nobody().unwrap(), &token, "one").await.unwrap();
    let credential = drone.credential.clone();
    let (dir, config) = swarm.stop().await.unwrap();
    let (mut dirs, mut files) = (vec![config.state_dir.clone()], 0);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            files += 1;
            let bytes = std::fs::read(&path).unwrap();
            for secret in [&token, &credential] {
                let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
                assert!(!found, "{} holds a secret", path.display());
            }
        }
    }
    assert!(files > 3, "{files}");
    drop(dir);
}
