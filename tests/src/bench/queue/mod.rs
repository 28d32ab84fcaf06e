//! The queue: how fast packages are claimed and completed through the API, durably, and at what cost,
//! compared with a bare server and with the queue of build-swarm-v3.

mod chain;
mod figures;
mod load;
mod ours;
mod peer;
pub mod reference;

use super::{
    Settings,
    report::{Section, median},
    server::{FINAL_FAILURES, Orchestrator, announced, independent, memory_mb},
};
use crate::{e2e::process::Process, faults::redis::Redis};
use anyhow::Result;
use figures::Figures;
use load::Outcome;
use ours::Failing;
use std::{env, process::Command};

const PACKAGES: usize = 5000;

/// Fewer for the peer, which is slow and becomes slower with more packages.
const PEER_PACKAGES: usize = 475;

/// Number of drones that claim at the same time.
const FEW: usize = 8;
const MANY: usize = 64;

/// Runs the benchmark.
///
/// # Errors
/// A server does not start, or refuses a valid request.
pub fn run(settings: &Settings) -> Result<Section> {
    let mut figures = Figures::default();
    for _ in 0..settings.rounds {
        // Measured before and after ours, because the machine may be busy with other things at times.
        for _ in 0..2 {
            figures.reference_many.push(reference(MANY)?.rate());
            sqlite(&mut figures)?;
            figures.everysec.push(redis(&mut figures.claims, "everysec")?);
            figures.always.push(redis(&mut figures.claims, "always")?);
            figures.reference_few.push(reference(FEW)?.rate());
        }
        if let Some(checkout) = &settings.peer {
            figures.peer_few.push(peer::run(checkout, FEW, PEER_PACKAGES)?.rate());
            figures.peer_many.push(peer::run(checkout, MANY, PEER_PACKAGES)?.rate());
        }
    }
    if let Some(claims) = settings.claims {
        many(&mut figures, claims)?;
    }
    figures.section(settings.rounds)
}

/// Ours with the embedded journal. Starts with the most drones, so that memory then contains a single run.
fn sqlite(figures: &mut Figures) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Orchestrator::start(folder.path(), FINAL_FAILURES)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let drones = runtime.block_on(server.crew(MANY))?;
    let mut series = 0;
    let mut load = |count: usize| -> Result<Outcome> {
        series += 1;
        runtime.block_on(server.planned(&drones[0], independent(series, PACKAGES)))?;
        load::run(server.address, count, PACKAGES, &Failing::new(&drones))
    };
    let many = load(MANY)?;
    figures.peak_mb.push(memory_mb(server.id(), "status", "VmHWM:")?);
    let few = load(FEW)?;
    figures.claims.count(&many);
    figures.claims.count(&few);
    figures.few.push(few.rate());
    figures.few_p99_ms.push(few.percentile_ms(99));
    figures.many.push(many.rate());
    figures.many_p50_ms.push(many.percentile_ms(50));
    figures.many_p99_ms.push(many.percentile_ms(99));
    figures.received.push(runtime.block_on(chain::received_rate(&server, &drones))?);
    figures.handed_on_ms.push(median(runtime.block_on(chain::handed_on_ms(&server, &drones))?)?);
    server.stop()
}

fn reference(drones: usize) -> Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(env::current_exe()?);
    command.arg("--reference").arg(folder.path().join("reference.sqlite"));
    command.args(["--packages", &PACKAGES.to_string()]);
    let mut process = Process::start(&mut command, &folder.path().join("log"))?;
    let address = announced(&mut process)?;
    load::run(address, drones, PACKAGES, &reference::Spoken)
}

/// Ours on a real Redis with this `appendfsync` setting. Returns claims per second of 64 drones.
fn redis(claims: &mut figures::Claims, fsync: &str) -> Result<f64> {
    let redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", fsync])?;
    let folder = tempfile::tempdir()?;
    let settings = format!("{FINAL_FAILURES}[journal]\nkind = \"redis\"\nurl = \"{}\"\n", redis.url());
    let server = Orchestrator::start(folder.path(), &settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let drones = runtime.block_on(server.crew(MANY))?;
    runtime.block_on(server.planned(&drones[0], independent(1, PACKAGES)))?;
    let outcome = load::run(server.address, MANY, PACKAGES, &Failing::new(&drones))?;
    claims.count(&outcome);
    server.stop()?;
    Ok(outcome.rate())
}

/// Makes this many claims, run after run.
fn many(figures: &mut Figures, claims: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Orchestrator::start(folder.path(), FINAL_FAILURES)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let drones = runtime.block_on(server.crew(MANY))?;
    for series in 0..claims.div_ceil(PACKAGES) {
        runtime.block_on(server.planned(&drones[0], independent(series, PACKAGES)))?;
        let outcome = load::run(server.address, MANY, PACKAGES, &Failing::new(&drones))?;
        figures.claims.count(&outcome);
    }
    server.stop()
}
