//! Two real orchestrators and eight drones on a real Redis, while one of them, or Redis, is killed, paused,
//! emptied or out of memory. Nothing is accepted twice, and nothing acknowledged is lost if Redis kept its
//! data. If it did not, this is reported and nothing more is written.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

mod leaders;
mod servers;
mod standby;

use swarm_tests::faults::{
    crew::{self, Crew},
    house::{self, House},
    redis::Redis,
};

/// Drones that work all the time.
const DRONES: usize = 8;

/// Acknowledgements between two faults.
const SOME: usize = 20;

/// Two orchestrators on a Redis that keeps everything, and working drones.
async fn house() -> (Redis, House, Crew) {
    let redis = Redis::start().unwrap();
    let house = House::on(&redis, 2).unwrap();
    let mut crew = Crew::start(&house.client().unwrap(), DRONES, house.folder()).await.unwrap();
    crew.works(SOME).await.unwrap();
    let published = async {
        while !is_published(&house, 0).await {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(house::SOON, published).await.unwrap();
    (redis, house, crew)
}

/// Checks that nothing was lost and nothing happened twice so far.
async fn all_is_there(redis: &Redis, house: &House, crew: Crew) {
    let acknowledged = crew.dismiss().await.unwrap();
    let (records, verified) = house.journal(redis).unwrap();
    crew::check(&records, &acknowledged).unwrap();
    let audit = house.client().unwrap().audit().await.unwrap();
    assert_eq!((audit.faults, audit.head), (vec![], verified.head));
    println!("{} acknowledged, {} events, none lost", acknowledged.len(), verified.events);
}

/// The concerns in the status, one per line.
async fn concerns(house: &House, n: usize) -> String {
    let status = house.client_of(&[n]).unwrap().status().await.unwrap();
    let lines = status.concerns.iter().map(|c| format!("{} -> {}", c.what, c.next));
    lines.collect::<Vec<_>>().join("\n")
}

/// Waits until the status shows a concern that contains this, and returns it.
async fn concern(house: &House, n: usize, want: &str) -> String {
    let found = async {
        loop {
            let shown = concerns(house, n).await;
            if shown.contains(want) {
                return shown;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let found = tokio::time::timeout(house::SOON, found).await;
    let shown = found.unwrap_or_else(|_| panic!("`{want}` is never shown:\n{}", house.log(n)));
    println!("status: {}", shown.lines().find(|line| line.contains(want)).unwrap_or_default());
    shown
}

/// Whether an orchestrator serves the published files.
async fn is_published(house: &House, n: usize) -> bool {
    let index = reqwest::get(format!("{}/binhost/desk/Packages", house.address(n))).await.unwrap();
    index.status() == 200
}

/// The response of an orchestrator's `/readyz`: status and text.
async fn ready(house: &House, n: usize) -> (u16, String) {
    let answer = reqwest::get(format!("{}/readyz", house.address(n))).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}
