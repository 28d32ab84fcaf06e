//! The journal: the startup time when it is replayed, and when there is a checkpoint.

use super::{
    Settings,
    report::{Goal, Row, Section, median},
    server::{Orchestrator, memory_mb},
};
use crate::api::{facts, name, pebble, plan_of};
use anyhow::{Context, Result, bail, ensure};
use rusqlite::Connection;
use std::{fs, path::Path, time::Instant};
use swarm_common::{
    digest::Digest,
    id::{AttemptId, DroneId},
    state::{Phase, RunClass},
    time::TimeMs,
    wire::{
        admin::{BuilderKind, ProfileRequest},
        artifact::Artifact,
        drone::*,
        plan::{PlanEdge, PlanReport, PortagePackage},
    },
};
use swarm_core::{Command, Policy, Record, Reply, Request, Swarm};
use swarm_orchestrator::journal::{Journal, QueueDelta, Replay, SqliteJournal};

/// Number of events to replay.
const EVENTS: u64 = 100_000;

/// Packages of a run, as in a nightly update.
const PACKAGES: u32 = 475;

/// Drones that take turns in building.
const DRONES: u64 = 8;

/// Events written together.
const BATCH: usize = 1000;

/// Runs the benchmark.
///
/// # Errors
/// The journal cannot be created, or the orchestrator does not start with it.
pub fn run(settings: &Settings) -> Result<Section> {
    let made = tempfile::tempdir()?;
    let journal = made.path().join("journal.sqlite");
    let events = Nights::begin(&journal)?.pass(EVENTS)?;
    let (mut replayed, mut resumed, mut walked, mut peak) = (vec![], vec![], vec![], vec![]);
    for _ in 0..settings.rounds {
        let folder = tempfile::tempdir()?;
        let state = folder.path().join("state");
        let own = state.join("journal.sqlite");
        // Keys, folders and their marks are not part of the measurement, and without marks the journal would be
        // refused. That of the empty journal goes with it.
        Orchestrator::start(folder.path(), "")?.stop()?;
        fs::copy(&journal, &own)?;
        fs::remove_file(state.join("journal.mark"))?;
        walked.push(walk(&own)?);
        Orchestrator::start(folder.path(), "")?.stop()?;
        let checkpoints = Connection::open(&own)?.execute("DELETE FROM snapshots", [])?;
        ensure!(checkpoints > 0, "a stop kept no checkpoint");
        let server = Orchestrator::start(folder.path(), "")?;
        replayed.push(server.started_in.as_secs_f64());
        peak.push(memory_mb(server.id(), "status", "VmHWM:")?);
        server.stop()?;
        let server = Orchestrator::start(folder.path(), "")?;
        resumed.push(server.started_in.as_secs_f64());
        server.stop()?;
    }
    let replayed = median(replayed)?;
    let rows = vec![
        Row::within(format!("start that replays {events} events, s"), replayed, 1.0),
        Row::within("start with a checkpoint of the same, s", median(resumed)?, 0.2),
        Row::new(
            "start that replays, s",
            replayed,
            "reading the rows with sqlite3 alone",
            median(walked)?,
            Goal::None,
        ),
        Row::alone("most memory of a start that replays, MB", median(peak)?),
    ];
    let about = format!(
        "The events come from nights of {PACKAGES} packages that depend on each other, built by {DRONES} drones in all \
         phases. The time is that of the whole start of the program, from its execution until it reports that it is ready: \
         reading the events, checking the hash chain, applying the events, and opening everything else."
    );
    Ok(Section { title: "Journal", about, rows })
}

/// Seconds to read every row.
fn walk(journal: &Path) -> Result<f64> {
    let began = Instant::now();
    let connection = Connection::open(journal)?;
    let mut statement = connection.prepare("SELECT seq, at, body, hash FROM events ORDER BY seq")?;
    let mut rows = statement.query([])?;
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        bytes += row.get_ref(2)?.as_str()?.len() + row.get_ref(3)?.as_blob()?.len();
    }
    ensure!(bytes > 0, "an empty journal");
    Ok(began.elapsed().as_secs_f64())
}

/// A farm whose nights pass as fast as the core decides.
struct Nights {
    swarm: Swarm,
    journal: SqliteJournal,
    now: u64,
    unwritten: Vec<Record>,
}

struct Nothing;

impl Replay for Nothing {
    fn checkpoint(&mut self, _: &str) -> bool {
        false
    }
    fn record(&mut self, _: Record) {}
}

impl Nights {
    fn begin(path: &Path) -> Result<Self> {
        let mut journal = SqliteJournal::open(path)?;
        journal.load(&mut Nothing)?;
        let policy = Policy { startup_grace_ms: 0, ..Policy::default() };
        let now = 1_800_000_000_000;
        let mut nights = Self { swarm: Swarm::new(policy), journal, now, unwritten: Vec::new() };
        nights.say(Command::StartOrchestrator)?;
        for n in 0..DRONES {
            let token_hash = Digest::of(&n.to_be_bytes());
            nights.say(Command::IssueEnrolToken { token_hash, valid_ms: 600_000, approved: true })?;
            let name = name(&format!("drone-{n}"));
            let credential_hash = token_hash;
            nights.say(Command::EnrolDrone { token_hash, name, credential_hash, facts: facts() })?;
        }
        let request = ProfileRequest {
            builder: BuilderKind::Portage,
            snapshot: Digest::of(b"s"),
            source: "made".into(),
            base: None,
            rebuild: Default::default(),
            publish: Default::default(),
            cpu: Default::default(),
        };
        nights.say(Command::PutProfile { name: name("desk"), request })?;
        Ok(nights)
    }

    fn say(&mut self, command: Command) -> Result<Reply> {
        self.now += 10;
        let request = Request { now: TimeMs(self.now), entropy: 0, key: None, command };
        let (records, reply) = self.swarm.handle(&request)?;
        self.unwritten.extend(records.into_iter().filter(|r| r.event.is_durable()));
        if self.unwritten.len() >= BATCH {
            self.write()?;
        }
        Ok(reply)
    }

    fn write(&mut self) -> Result<()> {
        if let Some(first) = self.unwritten.first() {
            self.journal.append(first.seq - 1, &self.unwritten, &QueueDelta::default())?;
            self.unwritten.clear();
        }
        Ok(())
    }

    /// Runs nights until there are this many events. Returns their number.
    fn pass(mut self, events: u64) -> Result<u64> {
        for night in 0.. {
            if self.swarm.seq >= events {
                break;
            }
            self.say(Command::StartRun { profile: name("desk"), class: RunClass::Nightly })?;
            let drone = DroneId(1);
            let planning = self.claim(drone)?.context("nothing to plan")?;
            let (plan, usage) = (night_plan(night).into(), Usage::default());
            self.say(Command::ReceivePlan { drone, attempt: planning.attempt, plan, usage })?;
            let mut idle = 0;
            for drone in (1..=DRONES).cycle().map(DroneId) {
                match self.claim(drone)? {
                    Some(given) => {
                        idle = 0;
                        self.build(drone, given)?;
                    }
                    None if idle > DRONES => break,
                    None => idle += 1,
                }
            }
        }
        self.write()?;
        Ok(self.swarm.seq)
    }

    fn claim(&mut self, drone: DroneId) -> Result<Option<Assignment>> {
        let request = ClaimRequest { key: self.now.to_string(), wait_ms: 0, memory_free_bytes: 1 << 40 };
        match self.say(Command::Claim { drone, request })? {
            Reply::Claim(reply) => Ok(reply.assignment),
            other => bail!("a claim was answered with {other:?}"),
        }
    }

    fn build(&mut self, drone: DroneId, given: Assignment) -> Result<()> {
        let Work::Build(order) = given.work else { bail!("a plan in the middle of a run") };
        let attempt = given.attempt;
        for phase in [Phase::Preparing, Phase::Fetching, Phase::Building, Phase::Packaging, Phase::Uploading]
        {
            let attempts = vec![AttemptStatus { attempt, phase, stuck: None, made_from: None }];
            let request = HeartbeatRequest {
                vitals: Vitals::default(),
                attempts,
                draining: false,
                boot_id: "b".into(),
                facts: None,
                highest_attempt: None,
            };
            self.say(Command::Heartbeat { drone, request })?;
        }
        let artifact = |target: &Target| received(target, attempt, drone, TimeMs(self.now));
        let artifacts = order.targets.iter().map(artifact).collect();
        let usage = Usage { wall_ms: 40, cpu_ms: 100, peak_memory_bytes: 1 << 28 };
        self.say(Command::ReceivePackage { drone, attempt, artifacts, usage })?;
        Ok(())
    }
}

fn received(target: &Target, attempt: AttemptId, drone: DroneId, received_at: TimeMs) -> Artifact {
    let digest = Digest::of(&attempt.0.to_be_bytes());
    Artifact {
        target: target.clone(),
        digest,
        uploaded_digest: digest,
        size: 1 << 20,
        attempt,
        drone,
        received_at,
        index_bytes: 1000,
        nar: None,
    }
}

/// New versions of the same packages. Each needs two earlier ones.
fn night_plan(night: u32) -> PlanReport {
    let package = |n: u32| PortagePackage {
        cpv: format!("dev-libs/pebble{n}-1.{night}").parse().unwrap_or_else(|_| pebble().cpv),
        inputs: Digest::of_fields([&night.to_be_bytes()[..], &n.to_be_bytes()]),
        ..pebble()
    };
    let edge = |from: u32, to: u32| PlanEdge {
        from,
        to,
        build: true,
        runtime: true,
        slot_operator: false,
        satisfied: false,
    };
    let mut plan = plan_of(&(0..PACKAGES).map(package).collect::<Vec<_>>());
    plan.edges = (1..PACKAGES).map(|n| edge(n, (n - 1) / 2)).collect();
    plan.edges.extend((3..PACKAGES).map(|n| edge(n, (n - 3) / 3)).filter(|e| e.to != (e.from - 1) / 2));
    plan
}
