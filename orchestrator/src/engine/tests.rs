//! The engine with its journal: it answers only after writing, and wakes waiting claims.

mod failing;
mod sleeping;

use super::*;
use crate::{
    journal::{QueueDelta, Replay, SqliteJournal},
    server::watchdog,
};
use std::{path::Path, sync::atomic::AtomicBool, time::Duration};
use swarm_common::{digest::Digest, id::RunId, state::RunClass, wire::admin::*};
use swarm_daemon::supervisor::Supervisor;

/// Upper limit for every wait in these tests.
const LIMIT: Duration = Duration::from_secs(60);

async fn start(folder: &Path) -> (Engine, EngineTask) {
    let journal = SqliteJournal::open(&folder.join("journal.sqlite")).unwrap();
    Engine::start(Box::new(journal), Policy::default(), Arc::new(SystemClock::new())).await.unwrap()
}

async fn enrol(engine: &Engine) -> DroneId {
    let token_hash = Digest::of(b"token");
    let issue = Command::IssueEnrolToken { token_hash, valid_ms: 60_000, approved: true };
    engine.submit(issue, None).await.unwrap();
    let facts = DroneFacts::default();
    let name = "drone".parse().unwrap();
    let enrol = Command::EnrolDrone { token_hash, name, credential_hash: Digest::of(b"c"), facts };
    match engine.submit(enrol, None).await.unwrap() {
        Reply::Drone(id) => id,
        other => panic!("{other:?}"),
    }
}

async fn put_profile(engine: &Engine) {
    let request = ProfileRequest {
        builder: BuilderKind::Portage,
        snapshot: Digest::of(b"s"),
        source: "test".into(),
        base: None,
        rebuild: Default::default(),
        publish: Default::default(),
        cpu: Default::default(),
    };
    engine.submit(Command::PutProfile { name: "desk".parse().unwrap(), request }, None).await.unwrap();
}

fn start_run() -> Command {
    Command::StartRun { profile: "desk".parse().unwrap(), class: RunClass::Nightly }
}

fn claim(key: &str, wait_ms: u64) -> ClaimRequest {
    ClaimRequest { key: key.into(), wait_ms, memory_free_bytes: 0 }
}

#[tokio::test]
async fn a_waiting_claim_is_woken_by_new_work_and_its_repeat_gets_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, task) = start(folder.path()).await;
    let drone = enrol(&engine).await;
    put_profile(&engine).await;
    let waiting = tokio::spawn({
        let engine = engine.clone();
        async move { engine.claim(drone, claim("k", 60_000)).await }
    });
    engine.submit(start_run(), None).await.unwrap();
    let reply = tokio::time::timeout(LIMIT, waiting).await.unwrap().unwrap().unwrap();
    let assignment = reply.assignment.unwrap();
    assert_eq!(assignment.run, RunId(1));
    assert_eq!(engine.claim(drone, claim("k", 0)).await.unwrap().assignment, Some(assignment));
    task.stop().await;
}

#[tokio::test]
async fn a_claim_whose_caller_has_gone_is_given_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, task) = start(folder.path()).await;
    let drone = enrol(&engine).await;
    put_profile(&engine).await;
    let gone = tokio::time::timeout(Duration::from_millis(50), engine.claim(drone, claim("gone", 60_000)));
    assert!(gone.await.is_err());
    engine.submit(start_run(), None).await.unwrap();
    let reply = engine.claim(drone, claim("new", 0)).await.unwrap();
    assert!(reply.assignment.is_some());
    task.stop().await;
}

/// The state without parts that only this process knows or that a start changes.
fn state(engine: &Engine) -> String {
    let mut swarm = engine.read(Swarm::clone);
    (swarm.seq, swarm.at) = (0, TimeMs(0));
    serde_json::to_string(&swarm).unwrap()
}

#[tokio::test]
async fn a_stopping_drone_need_not_wait_for_its_claim() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, task) = start(folder.path()).await;
    let drone = enrol(&engine).await;
    let waiting = tokio::spawn({
        let engine = engine.clone();
        async move { engine.claim(drone, claim("k", 60_000)).await }
    });
    wait_for(|| engine.read(|s| s.live.waiting.contains_key(&drone)).then_some(())).await;
    let request = HeartbeatRequest {
        vitals: Vitals::default(),
        attempts: vec![],
        draining: true,
        boot_id: String::new(),
        facts: None,
        highest_attempt: None,
    };
    engine.submit(Command::Heartbeat { drone, request }, None).await.unwrap();
    let reply = tokio::time::timeout(LIMIT, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(reply.reason.as_deref(), Some("the drone is stopping"));
    task.stop().await;
}

// fault: 41
#[tokio::test]
async fn a_restart_gives_the_same_state_with_and_without_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, task) = start(folder.path()).await;
    let drone = enrol(&engine).await;
    put_profile(&engine).await;
    engine.submit(start_run(), Some("key".into())).await.unwrap();
    engine.claim(drone, claim("k", 0)).await.unwrap();
    let before = state(&engine);
    // As after a kill: checkpoints are made only when stopping or after many events.
    let killed = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap()) {
        std::fs::copy(file.path(), killed.path().join(file.file_name())).unwrap();
    }
    task.stop().await;
    let mut checkpoints = Vec::new();
    for folder in [&killed, &folder] {
        let mut journal = SqliteJournal::open(&folder.path().join("journal.sqlite")).unwrap();
        let mut restored = super::restore::Restored::empty(Policy::default());
        journal.load(&mut restored).unwrap();
        checkpoints.push(restored.checkpoint > 0);
    }
    assert_eq!(checkpoints, [false, true]);
    let (engine, task) = start(killed.path()).await;
    assert_eq!(state(&engine), before);
    task.stop().await;
    let (engine, task) = start(folder.path()).await;
    assert_eq!(state(&engine), before);
    // The answer to a keyed command survives the restart.
    assert_eq!(engine.submit(start_run(), Some("key".into())).await.unwrap(), Reply::Run(RunId(1)));
    let (verified, _) = engine.audit().await.unwrap();
    assert_eq!(verified.events, engine.read(|s| s.seq));
    task.stop().await;
}

#[tokio::test]
async fn replaying_every_record_gives_the_live_state() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, task) = start(folder.path()).await;
    let drone = enrol(&engine).await;
    put_profile(&engine).await;
    engine.submit(start_run(), Some("key".into())).await.unwrap();
    for n in 0..20 {
        let reply = engine.claim(drone, claim(&format!("k{n}"), 0)).await.unwrap();
        let attempt = reply.assignment.unwrap().attempt;
        let give_back = Command::HandBack { drone, attempt, reason: "test".into() };
        engine.submit(give_back, None).await.unwrap();
    }
    let mut replayed = Swarm::new(Policy::default());
    for record in engine.records(0, usize::MAX).await.unwrap() {
        replayed.apply(&record);
    }
    let live = engine.read(|swarm| serde_json::to_string(swarm).unwrap());
    assert_eq!(serde_json::to_string(&replayed).unwrap(), live);
    assert_eq!(*engine.committed().borrow(), replayed.seq);
    task.stop().await;
}

#[tokio::test]
async fn a_claim_that_waited_in_vain_is_told_why_when_its_time_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, task) = start(folder.path()).await;
    let drone = enrol(&engine).await;
    // Measured by the engine's clock, which has millisecond resolution.
    let begun = engine.now();
    let reply = engine.claim(drone, claim("k", 100)).await.unwrap();
    assert!(engine.now().since(begun) >= 100);
    assert_eq!((reply.assignment, reply.reason.as_deref()), (None, Some("no run is under way")));
    task.stop().await;
}

#[tokio::test]
async fn a_newer_claim_of_a_drone_takes_the_place_of_the_older() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, task) = start(folder.path()).await;
    let drone = enrol(&engine).await;
    put_profile(&engine).await;
    let wait_for_work = |key: &str| {
        let (engine, request) = (engine.clone(), claim(key, 60_000));
        tokio::spawn(async move { engine.claim(drone, request).await.unwrap() })
    };
    // The engine has a claim once the drone counts as waiting.
    let older = wait_for_work("older");
    wait_for(|| engine.read(|swarm| swarm.live.waiting.get(&drone).copied())).await;
    let newer = wait_for_work("newer");
    let reply = tokio::time::timeout(LIMIT, older).await.unwrap().unwrap();
    assert!(reply.assignment.is_none() && reply.reason.unwrap().contains("newer claim"));
    engine.submit(start_run(), None).await.unwrap();
    let reply = tokio::time::timeout(LIMIT, newer).await.unwrap().unwrap();
    assert!(reply.assignment.is_some());
    task.stop().await;
}

async fn wait_for<T>(mut condition: impl FnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = condition() {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.unwrap()
}

// fault: 42
#[tokio::test]
async fn while_the_engine_spins_readers_see_the_state_before_and_the_watchdog_acts() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, task) = start(folder.path()).await;
    let drone = enrol(&engine).await;
    let spins = Arc::new(AtomicBool::new(true));
    let (goes_on, (begin, began)) = (Arc::clone(&spins), oneshot::channel());
    // Simulates a decision that never ends: it holds the hidden state.
    let spin = move || {
        let _ = begin.send(());
        while goes_on.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    };
    engine.put(Message::Pulse(Box::new(spin))).unwrap();
    began.await.unwrap();
    // Works on the only runtime thread.
    assert!(engine.read(|swarm| swarm.drones.contains_key(&drone)));
    let (sender, receiver) = oneshot::channel();
    let (patience, supervisor) = (Duration::from_millis(100), Arc::new(Supervisor::from_environment()));
    let stuck = |stuck| drop(sender.send(stuck));
    let watchdog = watchdog::watch(engine.clone(), supervisor, patience, String::new, stuck).unwrap();
    let stuck = tokio::time::timeout(LIMIT, receiver).await.unwrap().unwrap();
    assert!(stuck.to_string().contains("unresponsive"), "{stuck}");
    drop(watchdog);
    spins.store(false, Ordering::Relaxed);
    task.stop().await;
}
