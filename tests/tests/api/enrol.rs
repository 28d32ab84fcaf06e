//! Becoming a drone.

use crate::{key, refused};
use std::time::Duration;
use swarm_common::{
    client::Client,
    state::DroneState,
    wire::{
        admin::EnrolTokenRequest,
        drone::{EnrolRequest, Work},
    },
};
use swarm_tests::api::{FakeDrone, Swarm, facts, name};

fn request(token: &str, called: &str) -> EnrolRequest {
    EnrolRequest { token: token.to_owned(), name: name(called), facts: facts() }
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
    let told = drone.ask("k1", 0).await.unwrap();
    assert!(told.assignment.is_none() && told.reason.unwrap().contains("approve"));
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

#[tokio::test]
async fn neither_token_nor_credential_is_stored_anywhere() {
    let swarm = Swarm::start().await.unwrap();
    let token = token(&swarm.admin).await;
    let drone = FakeDrone::enrol(&swarm.nobody().unwrap(), &token, "one").await.unwrap();
    let credential = drone.credential.clone();
    let (dir, config) = swarm.stop().await.unwrap();
    for file in std::fs::read_dir(&config.state_dir).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            for secret in [&token, &credential] {
                let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
                assert!(!found, "{} holds a secret", path.display());
            }
        }
    }
    drop(dir);
}
