//! The memory and CPU time of idle programs, and their sizes.

use super::{
    Settings, cpu,
    report::{Row, Section, median},
    server::{Orchestrator, memory_mb},
};
use crate::{
    api::FakeDrone,
    e2e::{process::Process, programs, wait},
};
use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};
use swarm_client::IdempotencyKey;
use swarm_common::{state::DroneState, wire::admin::EnrolTokenRequest};
use swarm_daemon::config::secret::write_private;

/// Drones that wait for work.
const DRONES: usize = 64;

/// Interval between heartbeats (the drones' default), and how long claims may wait.
const BEAT: Duration = Duration::from_secs(10);
const WAIT_MS: u64 = 60_000;

/// Time after which the effects of starting have settled.
const SETTLED: Duration = Duration::from_secs(8);

const LOOK: Duration = Duration::from_secs(20);

/// Runs the benchmark.
///
/// # Errors
/// Something does not start.
pub fn run(settings: &Settings) -> Result<Section> {
    let folder = tempfile::tempdir()?;
    let server = Orchestrator::start(folder.path(), "")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let drones = runtime.block_on(server.crew(DRONES))?;
    let drone = real_drone(&runtime, &server)?;
    let (mut server_cpu, mut drone_cpu) = (vec![], vec![]);
    let idle = async {
        tokio::time::sleep(SETTLED).await;
        for _ in 0..settings.rounds {
            let before = (cpu::of(server.id())?, cpu::of(drone.id())?, Instant::now());
            tokio::time::sleep(LOOK).await;
            let seconds = before.2.elapsed().as_secs_f64();
            server_cpu.push((cpu::of(server.id())? - before.0).as_secs_f64() / seconds * 100.0);
            drone_cpu.push((cpu::of(drone.id())? - before.1).as_secs_f64() / seconds * 100.0);
        }
        anyhow::Ok(())
    };
    runtime.block_on(async {
        tokio::select! {
            ended = wait_for_work(&drones) => ended.context("a played drone broke off"),
            ended = idle => ended,
        }
    })?;
    let proportional = |id| memory_mb(id, "smaps_rollup", "Pss:");
    let mut rows = vec![
        Row::within("idle orchestrator with 65 drones, % of a core", median(server_cpu)?, 1.0),
        Row::within("its resident memory, MB", memory_mb(server.id(), "status", "VmRSS:")?, 30.0),
        Row::alone("its proportional memory, MB", proportional(server.id())?),
        Row::within("idle drone, % of a core", median(drone_cpu)?, 0.2),
        Row::within("its resident memory, MB", memory_mb(drone.id(), "status", "VmRSS:")?, 15.0),
        Row::alone("its proportional memory, MB", proportional(drone.id())?),
    ];
    for name in ["swarm-orchestrator", "swarm-drone", "swarmctl"] {
        let size = fs::metadata(programs::program(name)?)?.len() as f64 / 1e6;
        rows.push(Row::alone(format!("{name}, MB"), size));
    }
    if settings.clean_build {
        rows.push(Row::alone("clean build of all programs, s", clean_build()?));
    }
    drop(drone);
    server.stop()?;
    let about = format!(
        "{DRONES} simulated drones wait for work with open claims and send heartbeats every {} s through the client that \
         real drones use. One real, idle swarm-drone runs beside them. Processor time is read from /proc over {} s per \
         round. {}",
        BEAT.as_secs(),
        LOOK.as_secs(),
        if settings.clean_build { "" } else { "`--clean-build` adds the time of a clean release build." }
    );
    Ok(Section { title: "Footprint", about: about.trim_end().to_owned(), rows })
}

/// Sends claims and heartbeats of idle drones, forever.
async fn wait_for_work(drones: &[FakeDrone]) -> Result<()> {
    let one = async |(n, drone): (usize, &FakeDrone)| {
        // Real drones would not all start in the same second either.
        tokio::time::sleep(BEAT * n as u32 / DRONES as u32).await;
        tokio::try_join!(keep_claiming(drone), keep_beating(drone)).map(drop)
    };
    try_join_all(drones.iter().enumerate().map(one)).await.map(drop)
}

async fn keep_claiming(drone: &FakeDrone) -> Result<()> {
    loop {
        let reply = drone.ask(&IdempotencyKey::random()?.to_string(), WAIT_MS).await?;
        ensure!(reply.assignment.is_none(), "there was work");
    }
}

async fn keep_beating(drone: &FakeDrone) -> Result<()> {
    loop {
        drone.heartbeat(Vec::new()).await?;
        tokio::time::sleep(BEAT).await;
    }
}

/// A real drone that is enrolled and online.
fn real_drone(runtime: &tokio::runtime::Runtime, server: &Orchestrator) -> Result<Process> {
    let folder = server.folder().join("drone");
    let request = EnrolTokenRequest { valid_ms: 600_000, approved: true };
    let token = runtime.block_on(async {
        anyhow::Ok(server.admin.make_enrol_token(&request, &IdempotencyKey::random()?).await?.token)
    })?;
    write_private(&folder.join("token"), &token)?;
    let config = folder.join("drone.toml");
    let at = folder.display();
    fs::write(
        &config,
        format!(
            "name = \"real\"\norchestrators = [\"http://{}\"]\ntoken_file = \"{at}/token\"\n\
             state_dir = \"{at}/state\"\ncache_dir = \"{at}/snapshots\"\n\
             [builder]\nwork_dir = \"{at}/roots\"\ncache_dir = \"{at}/cache\"\n",
            server.address
        ),
    )?;
    let mut command = Command::new(programs::program("swarm-drone")?);
    let process = Process::start(command.arg("--config").arg(&config), &folder.join("log"))?;
    wait::until("the drone is online", Duration::from_secs(60), || {
        let status = runtime.block_on(server.admin.status())?;
        let mut drones = status.drones.iter();
        Ok(drones.any(|d| d.name.as_str() == "real" && d.state == DroneState::Online).then_some(()))
    })
    .with_context(|| process.output())?;
    Ok(process)
}

/// Duration of a clean release build in seconds.
fn clean_build() -> Result<f64> {
    let target = tempfile::tempdir()?;
    let began = Instant::now();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--release", "--locked", "--bins", "--target-dir"]).arg(target.path());
    cargo.args(["--package", "swarm-orchestrator", "--package", "swarm-drone", "--package", "swarmctl"]);
    let built = cargo.current_dir(programs::repository()).status()?;
    ensure!(built.success(), "the programs do not build");
    Ok(began.elapsed().as_secs_f64())
}
