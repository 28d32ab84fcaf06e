//! Sixty-four drones claim at once, repeatedly, with either journal: no package is ever assigned to two of
//! them, and the journal confirms it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};
use swarm_common::{
    digest::Digest,
    id::*,
    state::RunClass,
    wire::{admin::*, artifact::Artifact, drone::*},
};
use swarm_core::{Command, Event, Policy, Reply};
use swarm_orchestrator::{
    engine::{Engine, SystemClock},
    journal::{Journal, Lead, RedisJournal, RedisSettings, SqliteJournal},
};
use swarm_tests::{
    api::{facts, name, pebble_at, plan_of},
    faults::redis::Redis,
};
use tokio::sync::Barrier;

const DRONES: u64 = 64;

/// Packages of a run. Each is claimed once.
const PACKAGES: usize = 2000;

/// Number of consecutive runs: 5, which make 10,000 claims, or `SWARM_CLAIM_RUNS`; 50 make 100,000 claims and
/// take four minutes.
fn runs() -> usize {
    std::env::var("SWARM_CLAIM_RUNS").map_or(5, |runs| runs.parse().unwrap())
}

async fn submit(engine: &Engine, command: Command) -> Reply {
    engine.submit(command, None).await.unwrap()
}

async fn claim(engine: &Engine, drone: DroneId, key: String) -> Option<Assignment> {
    let request = ClaimRequest { key, wait_ms: 0, memory_free_bytes: 1 << 40 };
    engine.claim(drone, request).await.unwrap().assignment
}

async fn enrol(engine: &Engine) -> Vec<DroneId> {
    let mut drones = Vec::new();
    for n in 0..DRONES {
        let token_hash = Digest::of(&n.to_be_bytes());
        submit(engine, Command::IssueEnrolToken { token_hash, valid_ms: 600_000, approved: true }).await;
        let name = name(&format!("drone-{n}"));
        let enrol = Command::EnrolDrone { token_hash, name, credential_hash: token_hash, facts: facts() };
        match submit(engine, enrol).await {
            Reply::Drone(drone) => drones.push(drone),
            other => panic!("{other:?}"),
        }
    }
    let request = ProfileRequest {
        builder: BuilderKind::Portage,
        snapshot: Digest::of(b"s"),
        source: "test".into(),
        base: None,
        rebuild: Default::default(),
        publish: Default::default(),
        cpu: Default::default(),
    };
    submit(engine, Command::PutProfile { name: name("desk"), request }).await;
    drones
}

/// A run whose packages have no dependencies.
async fn planned(engine: &Engine, drone: DroneId, number: usize) {
    submit(engine, Command::StartRun { profile: name("desk"), class: RunClass::Nightly }).await;
    let assignment = claim(engine, drone, format!("plan-{number}")).await.unwrap();
    let packages: Vec<_> = (0..PACKAGES).map(|n| pebble_at(&format!("{number}.{n}"), "0")).collect();
    let mut plan = plan_of(&packages);
    plan.edges.clear();
    let plan = plan.into();
    let plan = Command::ReceivePlan { drone, attempt: assignment.attempt, plan, usage: Usage::default() };
    submit(engine, plan).await;
}

/// A drone's part of a run: it claims together with all others, and delivers what it was assigned.
async fn work(
    engine: Engine,
    drone: DroneId,
    run: usize,
    given: Arc<Mutex<BTreeSet<PackageId>>>,
    left: Arc<AtomicUsize>,
    together: Arc<Barrier>,
) {
    together.wait().await;
    for n in 0.. {
        if left.load(Ordering::SeqCst) == 0 {
            return;
        }
        let Some(assignment) = claim(&engine, drone, format!("{run}-{n}")).await else {
            tokio::task::yield_now().await;
            continue;
        };
        let Work::Build(order) = assignment.work else { panic!("{assignment:?}") };
        let is_first = given.lock().unwrap().insert(order.package);
        assert!(is_first, "{} was given twice", order.package);
        left.fetch_sub(1, Ordering::SeqCst);
        let attempt = assignment.attempt;
        let digest = Digest::of(&attempt.0.to_be_bytes());
        let artifact = |target: &Target| Artifact {
            target: target.clone(),
            digest,
            uploaded_digest: digest,
            size: 1,
            attempt,
            drone,
            received_at: engine.now(),
            index_bytes: 0,
            nar: None,
        };
        let artifacts = order.targets.iter().map(artifact).collect();
        submit(&engine, Command::ReceivePackage { drone, attempt, artifacts, usage: Usage::default() }).await;
    }
}

async fn never_twice(journal: Box<dyn Journal>) {
    let policy = Policy { keep_runs: 1, startup_grace_ms: 0, ..Policy::default() };
    let (engine, task) = Engine::start(journal, policy, Arc::new(SystemClock::new())).await.unwrap();
    let drones = enrol(&engine).await;
    let (given, began) = (Arc::new(Mutex::new(BTreeSet::new())), Instant::now());
    let runs = runs();
    for run in 0..runs {
        planned(&engine, drones[0], run).await;
        let left = Arc::new(AtomicUsize::new(PACKAGES));
        let together = Arc::new(Barrier::new(drones.len()));
        let tasks: Vec<_> = drones
            .iter()
            .map(|&drone| {
                let (given, left, together) = (given.clone(), left.clone(), together.clone());
                tokio::spawn(work(engine.clone(), drone, run, given, left, together))
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }
    assert_eq!(given.lock().unwrap().len(), runs * PACKAGES);
    let (mut delegated, mut after, mut received) = (BTreeSet::new(), 0, 0);
    loop {
        let records = engine.records(after, 10_000).await.unwrap();
        let Some(last) = records.last() else { break };
        after = last.seq;
        for record in &records {
            match &record.event {
                Event::PackageDelegated { package, .. } => assert!(delegated.insert(*package), "{package}"),
                Event::PackageReceived { .. } => received += 1,
                _ => {}
            }
        }
    }
    assert_eq!((delegated.len(), received), (runs * PACKAGES, runs * PACKAGES));
    println!("{} claims by {DRONES} drones in {:.1} s", delegated.len(), began.elapsed().as_secs_f64());
    task.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_no_package_is_given_twice() {
    let folder = tempfile::tempdir().unwrap();
    never_twice(Box::new(SqliteJournal::open(&folder.path().join("journal.sqlite")).unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_redis_no_package_is_given_twice() {
    let redis = Redis::start().unwrap();
    let journal = RedisJournal::open(&RedisSettings::at(&redis.url()), "a test", "", None).unwrap();
    never_twice(Box::new(journal)).await;
    let again = RedisJournal::open(&RedisSettings::at(&redis.url()), "another", "", None);
    assert_eq!(again.unwrap().lead().unwrap(), Lead::Ours, "the lock was given up");
}
