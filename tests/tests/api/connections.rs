//! Connections without a credential never displace connections with one.

use crate::patient;
use anyhow::{Result, ensure};
use std::{net::SocketAddr, time::Duration};
use swarm_common::{state::Caller, wire::view::ConnectionsView};
use swarm_tests::{
    api::{FakeDrone, PROFILE, Raw, Swarm, in_a_network_of_its_own, name, until},
    attack::connections::Crowd,
};

const CROWD: usize = 2000;

/// Number of connections that a drone opens meanwhile.
const NEW: u64 = 20;

async fn of(swarm: &Swarm, caller: Caller) -> ConnectionsView {
    let rows = swarm.admin.status().await.unwrap().connections;
    rows.into_iter().find(|row| row.of == caller).unwrap()
}

/// Sends a heartbeat over this connection.
async fn beat(raw: &mut Raw, drone: &FakeDrone) -> Result<()> {
    let bearer = format!("Bearer {}", drone.credential);
    let body = br#"{"vitals":{"load1":0,"memory_free_bytes":0,"disk_free_bytes":0},"attempts":[],"draining":false,"boot_id":"b"}"#;
    let answer = raw.ask("POST /api/v1/heartbeat", &[("authorization", bearer.as_str())], body).await?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(())
}

/// `scripts/attack` measures how long a heartbeat takes meanwhile.
// fault: 9
#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_hostile_connections_hold_up_no_heartbeat() {
    let swarm = Swarm::start_with(patient).await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    let mut kept = swarm.raw().await.unwrap();
    beat(&mut kept, &drone).await.unwrap();
    let crowd = Crowd::gather(swarm.address, CROWD).await.unwrap();
    // Until each stranger has reconnected once on average, so that the drone's places are contested all the
    // time.
    let (enough, mut new) = (crowd.opened() + CROWD as u64, Vec::new());
    while crowd.opened() < enough || (new.len() as u64) < NEW {
        beat(&mut kept, &drone).await.expect("the connection that the drone keeps");
        if (new.len() as u64) < NEW {
            // Until its first request it counts as a stranger's, so it may have to be reopened.
            let connected = until("a heartbeat over a new connection is answered", async || {
                let mut raw = swarm.raw().await.ok()?;
                beat(&mut raw, &drone).await.ok().map(|()| raw)
            });
            new.push(connected.await);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for raw in &mut new {
        beat(raw, &drone).await.expect("a connection that the drone has opened meanwhile");
    }
    let row = async |caller: Caller| {
        let status = until("the admin is answered", async || swarm.admin.status().await.ok()).await;
        status.connections.into_iter().find(|row| row.of == caller).unwrap()
    };
    let drones = row(Caller::Drone).await;
    assert!(drones.open > NEW && drones.turned_away == 0, "{drones:?}");
    assert_eq!(row(Caller::Admin).await.turned_away, 0);
    until("the strangers keep to their places", async || {
        let strangers = row(Caller::Stranger).await;
        assert!(strangers.open <= strangers.limit, "{strangers:?}");
        (strangers.turned_away + strangers.limit >= 2 * CROWD as u64).then_some(())
    })
    .await;
    crowd.leave().await;
    swarm.stop().await.unwrap();
}

// fault: 9
#[tokio::test]
async fn strangers_that_are_slow_make_room_and_a_stranger_becomes_whom_it_proves_to_be() {
    let swarm = Swarm::start_with(|config| {
        patient(config);
        config.limits.connections = 32;
    });
    let swarm = swarm.await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    let mut early = swarm.raw().await.unwrap();
    early.send("GET /healthz HT").await.unwrap();
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut raw = swarm.raw().await.unwrap();
        raw.send("POST /api/v1/enrol HTTP/1.1\r\nhost: s\r\ncontent-length: 9\r\n\r\n{").await.unwrap();
        slow.push(raw);
    }
    early.closed().await.unwrap();

    let mut known = swarm.raw().await.unwrap();
    beat(&mut known, &drone).await.unwrap();
    for _ in 0..100 {
        let mut raw = swarm.raw().await.unwrap();
        raw.send("GET /healthz HT").await.unwrap();
        slow.push(raw);
    }
    beat(&mut known, &drone).await.unwrap();
    let strangers = of(&swarm, Caller::Stranger).await;
    assert_eq!((strangers.open, strangers.limit), (8, 8));
    drop(slow);
    swarm.stop().await.unwrap();
}

#[tokio::test]
async fn a_drone_that_takes_all_its_places_keeps_no_other_from_its_own() {
    let swarm = Swarm::start_with(|config| {
        config.limits.connections = 32;
        config.limits.connections_per_address = 4;
    });
    let swarm = swarm.await.unwrap();
    let (greedy, modest) = (swarm.drone("one").await.unwrap(), swarm.drone("two").await.unwrap());
    // A heartbeat without its body keeps its connection busy.
    let begin = async |drone: &FakeDrone| {
        let mut raw = swarm.raw().await.unwrap();
        let head = format!(
            "POST /api/v1/heartbeat HTTP/1.1\r\nhost: s\r\nauthorization: Bearer {}\r\ncontent-length: 9\r\n\r\n{{",
            drone.credential
        );
        raw.send(head).await.unwrap();
        raw
    };
    let mut waiting = Vec::new();
    for expected in 1..=4 {
        waiting.push(begin(&greedy).await);
        until("the connection is the drone's", async || {
            (of(&swarm, Caller::Drone).await.open >= expected).then_some(())
        })
        .await;
    }
    let answer = begin(&greedy).await.answer(false).await.unwrap();
    assert_eq!((answer.status, answer.header("retry-after")), (503, "2"));
    assert_eq!(answer.json().unwrap()["type"], "/problems/no-room");
    modest.heartbeat(vec![]).await.unwrap();
    assert_eq!(of(&swarm, Caller::Drone).await.turned_away, 1);
}

#[test]
fn strangers_of_one_address_leave_room_for_those_of_others() {
    let tried = in_a_network_of_its_own(|address| async move {
        let swarm = Swarm::start_with(|config| {
            config.listen = SocketAddr::from(([0, 0, 0, 0], 0));
            config.limits.connections_per_address = 5;
        });
        let swarm = swarm.await?;
        let there = SocketAddr::new(address.parse()?, swarm.address.port());
        let mut local = Raw::connect(SocketAddr::from(([127, 0, 0, 1], swarm.address.port()))).await?;
        let mut crowd = Vec::new();
        for _ in 0..20 {
            crowd.push(Raw::connect(there).await?);
        }
        for mut early in crowd.drain(..15) {
            early.closed().await?;
        }
        let mut newest = crowd.pop().ok_or_else(|| anyhow::anyhow!("nobody is left"))?;
        ensure!(newest.ask("GET /healthz", &[], b"").await?.status == 200);
        ensure!(local.ask("GET /healthz", &[], b"").await?.status == 200);
        Ok::<_, anyhow::Error>(())
    });
    tried.unwrap();
}

#[tokio::test]
async fn a_workstation_is_known_by_what_it_is_given_and_downloads_have_a_bound() -> Result<()> {
    let swarm = Swarm::start_with(|config| config.limits.connections = 32).await?;
    swarm.profile().await?;
    let dir = swarm.app.binhosts.stable(&name(PROFILE));
    std::fs::create_dir_all(dir.join("a/b"))?;
    std::fs::write(dir.join("a/b/large-1-1.gpkg.tar"), vec![7; 24_000_000])?;
    let mut absent = swarm.raw().await?;
    ensure!(absent.ask("GET /binhost/desk/Packages", &[], b"").await?.status == 404);
    ensure!(of(&swarm, Caller::Workstation).await.open == 0);
    // Over the lane and over the HTTP library.
    let mut downloads = Vec::new();
    for query in ["", "?"].into_iter().cycle().take(8) {
        let mut raw = swarm.raw().await?;
        raw.send(format!("GET /binhost/desk/a/b/large-1-1.gpkg.tar{query} HTTP/1.1\r\nhost: s\r\n\r\n"))
            .await?;
        raw.begun().await?;
        downloads.push(raw);
    }
    ensure!(of(&swarm, Caller::Workstation).await.open == 8);
    for query in ["", "?"] {
        let answer = swarm
            .raw()
            .await?
            .ask(&format!("HEAD /binhost/desk/a/b/large-1-1.gpkg.tar{query}"), &[], b"")
            .await?;
        ensure!((answer.status, answer.header("retry-after")) == (503, "10"), "{answer:?}");
    }
    drop(downloads);
    until("the downloads have ended", async || {
        let row = swarm.admin.status().await.unwrap().connections;
        row.iter().any(|row| row.of == Caller::Workstation && row.open == 0).then_some(())
    })
    .await;
    Ok(())
}
