//! The engine with its journal: what is answered is written, and what waits is woken.

use super::*;
use crate::journal::{Loaded, SqliteJournal};
use std::{path::Path, time::Duration};
use swarm_common::{digest::Digest, id::RunId, state::RunClass, wire::admin::*};

/// No condition of these tests takes longer.
const LIMIT: Duration = Duration::from_secs(20);

async fn start(folder: &Path) -> (Engine, EngineTask) {
    let journal = SqliteJournal::open(&folder.join("journal.sqlite")).unwrap();
    Engine::start(Box::new(journal), Policy::default(), Arc::new(SystemClock::new())).await.unwrap()
}

async fn enrol(engine: &Engine) -> DroneId {
    let token_hash = Digest::of(b"token");
    let issue = Command::IssueEnrolToken { token_hash, valid_ms: 60_000, approved: true };
    engine.submit(issue, None).await.unwrap();
    let facts = DroneFacts {
        machine_id: String::new(),
        boot_id: String::new(),
        cores: 1,
        memory_bytes: 1,
        version: String::new(),
        profiles: vec![],
    };
    let name = "drone".parse().unwrap();
    let enrol = Command::EnrolDrone { token_hash, name, credential_hash: Digest::of(b"c"), facts };
    match engine.submit(enrol, None).await.unwrap() {
        Reply::Drone(id) => id,
        other => panic!("{other:?}"),
    }
}

async fn put_profile(engine: &Engine) {
    let request =
        ProfileRequest { builder: BuilderKind::Portage, snapshot: Digest::of(b"s"), source: "test".into() };
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

#[tokio::test]
async fn a_restart_gives_the_same_state_with_and_without_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, task) = start(folder.path()).await;
    let drone = enrol(&engine).await;
    put_profile(&engine).await;
    engine.submit(start_run(), Some("key".into())).await.unwrap();
    engine.claim(drone, claim("k", 0)).await.unwrap();
    let state = |engine: &Engine| {
        engine.read(|swarm| {
            let mut swarm = swarm.clone();
            (swarm.seq, swarm.at) = (0, TimeMs(0));
            serde_json::to_string(&swarm).unwrap()
        })
    };
    let before = state(&engine);
    task.stop().await;
    let (engine, task) = start(folder.path()).await;
    assert_eq!(state(&engine), before);
    // The repeat of a keyed command is still known.
    assert_eq!(engine.submit(start_run(), Some("key".into())).await.unwrap(), Reply::Run(RunId(1)));
    let verified = engine.audit().await.unwrap();
    assert_eq!(verified.events, engine.read(|s| s.seq));
    task.stop().await;
}

/// A journal on a disk that is full until told otherwise.
struct FullDisk {
    inner: SqliteJournal,
    full: Arc<std::sync::atomic::AtomicBool>,
}

impl Journal for FullDisk {
    fn load(&mut self) -> Result<Loaded, JournalError> {
        self.inner.load()
    }
    fn append(&mut self, expected_seq: u64, records: &[Record]) -> Result<(), JournalError> {
        if self.full.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(JournalError::NoSpace { path: "/var/lib/build-swarm/journal.sqlite".into() });
        }
        self.inner.append(expected_seq, records)
    }
    fn snapshot(&mut self, seq: u64, state: &str) -> Result<(), JournalError> {
        self.inner.snapshot(seq, state)
    }
    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError> {
        self.inner.reader()
    }
}

#[tokio::test]
async fn a_full_disk_stops_everything_with_a_reason_and_then_it_goes_on_by_itself() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let folder = tempfile::tempdir().unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let inner = SqliteJournal::open(&folder.path().join("journal.sqlite")).unwrap();
    let journal = Box::new(FullDisk { inner, full: Arc::clone(&full) });
    let clock = Arc::new(SystemClock::new());
    let (engine, task) = Engine::start(journal, Policy::default(), clock).await.unwrap();
    put_profile(&engine).await;
    full.store(true, Ordering::SeqCst);
    let stuck = tokio::spawn({
        let engine = engine.clone();
        async move { engine.submit(start_run(), None).await }
    });
    let trouble = wait_for(|| engine.trouble()).await;
    assert!(trouble.contains("no space left"), "{trouble}");
    let refused = engine.submit(start_run(), None).await.unwrap_err();
    assert!(matches!(&refused, EngineError::Stalled(why) if why.contains("no space left")), "{refused}");
    assert!(!stuck.is_finished());
    full.store(false, Ordering::SeqCst);
    let reply = tokio::time::timeout(LIMIT, stuck).await.unwrap().unwrap().unwrap();
    assert_eq!(reply, Reply::Run(RunId(1)));
    assert_eq!(engine.trouble(), None);
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
