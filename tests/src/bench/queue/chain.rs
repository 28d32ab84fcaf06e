//! Packages that are really delivered: uploaded, checked, signed, stored, received, and then used by other
//! builds.

use super::super::server::{Orchestrator, independent};
use crate::api::{FakeDrone, package_for, pebble_at, plan_of};
use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use std::{cell::Cell, time::Instant};
use swarm_client::Bytes;
use swarm_common::{
    digest::Digest,
    wire::drone::{Assignment, Outcome, UploadRequest, Work},
};

/// Packages that all drones deliver at the same time.
const MANY: usize = 500;

/// Packages of which each needs the previous one.
const CHAIN: usize = 24;

/// Packages per second that all drones together claim, deliver and have received.
pub(super) async fn received_rate(server: &Orchestrator, drones: &[FakeDrone]) -> Result<f64> {
    server.planned(&drones[0], independent(900, MANY)).await?;
    let left = Cell::new(MANY);
    let began = Instant::now();
    try_join_all(drones.iter().map(async |drone| {
        while left.get() > 0 {
            let reply = drone.ask(&key()?, 100).await?;
            let Some(assignment) = reply.assignment else { continue };
            let artifacts = upload(drone, &assignment).await?;
            report(drone, &assignment, artifacts).await?;
            left.set(left.get() - 1);
        }
        anyhow::Ok(())
    }))
    .await?;
    Ok(MANY as f64 / began.elapsed().as_secs_f64())
}

/// The time in milliseconds from sending a report until another waiting drone has the package that needs the
/// reported one.
pub(super) async fn handed_on_ms(server: &Orchestrator, drones: &[FakeDrone]) -> Result<Vec<f64>> {
    let packages: Vec<_> = (0..CHAIN).map(|n| pebble_at(&format!("901.{n}"), "0")).collect();
    server.planned(&drones[0], plan_of(&packages)).await?;
    let (mut builder, mut waiter) = (&drones[0], &drones[1]);
    let mut assignment = builder.work().await?;
    let mut waits = Vec::new();
    for _ in 1..CHAIN {
        let artifacts = upload(builder, &assignment).await?;
        let waiting = async {
            let next = waiter.work().await?;
            anyhow::Ok((next, Instant::now()))
        };
        let reporting = async {
            // Wait until the other drone's claim is probably parked, which cannot be observed. If it is not,
            // the measured time only gets longer.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            let sent = Instant::now();
            report(builder, &assignment, artifacts).await?;
            anyhow::Ok(sent)
        };
        let ((next, had), sent) = tokio::try_join!(waiting, reporting)?;
        waits.push((had - sent).as_secs_f64() * 1000.0);
        assignment = next;
        (builder, waiter) = (waiter, builder);
    }
    let artifacts = upload(builder, &assignment).await?;
    report(builder, &assignment, artifacts).await?;
    Ok(waits)
}

fn key() -> Result<String> {
    Ok(swarm_client::IdempotencyKey::random()?.to_string())
}

/// Uploads the files for an assignment.
async fn upload(drone: &FakeDrone, assignment: &Assignment) -> Result<Vec<Digest>> {
    let Work::Build(order) = &assignment.work else { anyhow::bail!("{assignment:?} is no build") };
    let mut digests = Vec::new();
    for target in &order.targets {
        let bytes = package_for(target);
        let digest = Digest::of(&bytes);
        let request = UploadRequest { digest, size: bytes.len() as u64, target: target.id().to_owned() };
        let status = drone.client.begin_upload(assignment.attempt, &request).await?;
        let sent = drone.client.upload_piece(assignment.attempt, digest, status.offset, Bytes::from(bytes));
        ensure!(sent.await?.verified, "an upload was not verified");
        digests.push(digest);
    }
    Ok(digests)
}

async fn report(drone: &FakeDrone, assignment: &Assignment, artifacts: Vec<Digest>) -> Result<()> {
    let reply = drone.report(assignment.attempt, Outcome::Built { artifacts }).await.context("a report")?;
    ensure!(reply.accepted, "a package was not accepted: {}", reply.reason);
    Ok(())
}
