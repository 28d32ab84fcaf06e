//! Two real orchestrators and eight drones on a real Redis, while one of them, or Redis, is
//! killed, paused, emptied or without memory. Nothing is accepted twice, and nothing that
//! was acknowledged is lost where Redis kept what it promised; where it did not, somebody
//! says so and nothing more is written.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

mod leaders;
mod servers;
mod standby;

use swarm_tests::faults::{
    crew::{self, Crew},
    house::{self, House},
    redis::Redis,
};

/// Drones that work throughout.
const DRONES: usize = 8;

/// Acknowledgements between one fault and the next.
const SOME: usize = 20;

/// Two orchestrators on a Redis that keeps everything, and drones at work.
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

/// Nothing was lost and nothing happened twice, up to now.
async fn all_is_there(redis: &Redis, house: &House, crew: Crew) {
    let acknowledged = crew.dismiss().await.unwrap();
    let (records, verified) = house.journal(redis).unwrap();
    crew::check(&records, &acknowledged).unwrap();
    let audit = house.client().unwrap().audit().await.unwrap();
    assert_eq!((audit.faults, audit.head), (vec![], verified.head));
    println!("{} acknowledged, {} events, none lost", acknowledged.len(), verified.events);
}

/// One line for each concern that the status shows.
async fn concerns(house: &House, n: usize) -> String {
    let status = house.client_of(&[n]).unwrap().status().await.unwrap();
    let lines = status.concerns.iter().map(|c| format!("{} -> {}", c.what, c.next));
    lines.collect::<Vec<_>>().join("\n")
}

/// Waits until the status shows a concern with this in it, and gives it.
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

/// Whether one serves what was published.
async fn is_published(house: &House, n: usize) -> bool {
    let index = reqwest::get(format!("{}/binhost/desk/Packages", house.address(n))).await.unwrap();
    index.status() == 200
}

/// What `/readyz` of one says: its status and its text.
async fn ready(house: &House, n: usize) -> (u16, String) {
    let answer = reqwest::get(format!("{}/readyz", house.address(n))).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}
