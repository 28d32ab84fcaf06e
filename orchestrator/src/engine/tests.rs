//! The engine with its journal: what is answered is written, and what waits is woken.

use super::*;
use crate::{
    journal::{Moves, Replay, SqliteJournal},
    watchdog,
};
use std::{path::Path, sync::atomic::AtomicBool, time::Duration};
use swarm_common::{digest::Digest, id::RunId, state::RunClass, supervisor::Supervisor, wire::admin::*};

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

/// The state without what only this process knows and what the start itself changes.
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
    };
    engine.submit(Command::Heartbeat { drone, request }, None).await.unwrap();
    let reply = tokio::time::timeout(LIMIT, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(reply.reason.as_deref(), Some("the drone is stopping"));
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
    let before = state(&engine);
    // As a kill leaves it; a snapshot is made at the stop, or after many events.
    let killed = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap()) {
        std::fs::copy(file.path(), killed.path().join(file.file_name())).unwrap();
    }
    task.stop().await;
    let mut snapshots = Vec::new();
    for folder in [&killed, &folder] {
        let mut journal = SqliteJournal::open(&folder.path().join("journal.sqlite")).unwrap();
        let mut restored = super::restore::Restored::empty(Policy::default());
        journal.load(&mut restored).unwrap();
        snapshots.push(restored.snapshot > 0);
    }
    assert_eq!(snapshots, [false, true]);
    let (engine, task) = start(killed.path()).await;
    assert_eq!(state(&engine), before);
    task.stop().await;
    let (engine, task) = start(folder.path()).await;
    assert_eq!(state(&engine), before);
    // The repeat of a keyed command is still known.
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
    // By the engine's own clock, which tells whole milliseconds.
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
    // A claim is before the engine once the drone counts as waiting.
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

/// What is the matter with the disk.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Disk {
    Fine,
    Full,
    Defect,
}

/// A journal on a disk that fails when it is told to.
struct OnDisk {
    inner: SqliteJournal,
    disk: watch::Receiver<Disk>,
}

impl Journal for OnDisk {
    fn load(&mut self, into: &mut dyn Replay) -> Result<(), JournalError> {
        self.inner.load(into)
    }
    fn append(&mut self, expected_seq: u64, records: &[Record], moves: &Moves) -> Result<(), JournalError> {
        match *self.disk.borrow() {
            Disk::Fine => {}
            Disk::Full => return Err(JournalError::NoSpace { path: "/var/lib/build-swarm/journal".into() }),
            Disk::Defect => panic!("a defect, as told by the test"),
        }
        self.inner.append(expected_seq, records, moves)
    }
    fn snapshot(&mut self, seq: u64, state: &str) -> Result<(), JournalError> {
        self.inner.snapshot(seq, state)
    }
    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError> {
        self.inner.reader()
    }
}

async fn start_on(folder: &Path, disk: &watch::Sender<Disk>) -> (Engine, EngineTask) {
    let inner = SqliteJournal::open(&folder.join("journal.sqlite")).unwrap();
    let journal = Box::new(OnDisk { inner, disk: disk.subscribe() });
    let start = Engine::start(journal, Policy::default(), Arc::new(SystemClock::new()));
    tokio::time::timeout(LIMIT, start).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_full_disk_stops_everything_with_a_reason_and_then_it_goes_on_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let disk = watch::Sender::new(Disk::Fine);
    let (engine, task) = start_on(folder.path(), &disk).await;
    put_profile(&engine).await;
    disk.send_replace(Disk::Full);
    let stuck = tokio::spawn({
        let engine = engine.clone();
        async move { engine.submit(start_run(), None).await }
    });
    let trouble = wait_for(|| engine.trouble()).await;
    assert!(trouble.contains("no space left"), "{trouble}");
    let refused = engine.submit(start_run(), None).await.unwrap_err();
    assert!(matches!(&refused, EngineError::Stalled(why) if why.contains("no space left")), "{refused}");
    assert!(!stuck.is_finished());
    disk.send_replace(Disk::Fine);
    let reply = tokio::time::timeout(LIMIT, stuck).await.unwrap().unwrap().unwrap();
    assert_eq!(reply, Reply::Run(RunId(1)));
    assert_eq!(engine.trouble(), None);
    task.stop().await;
}

#[tokio::test]
async fn a_start_on_a_full_disk_says_so_and_is_noted_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let disk = watch::Sender::new(Disk::Full);
    let (engine, task) = start_on(folder.path(), &disk).await;
    assert!(engine.trouble().is_some_and(|why| why.contains("no space left")));
    assert_eq!(*engine.committed().borrow(), 0);
    disk.send_replace(Disk::Fine);
    let mut committed = engine.committed();
    tokio::time::timeout(LIMIT, committed.wait_for(|&seq| seq == 1)).await.unwrap().unwrap();
    put_profile(&engine).await;
    task.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_full_disk_and_takes_nothing_back() {
    let folder = tempfile::tempdir().unwrap();
    let disk = watch::Sender::new(Disk::Fine);
    let (engine, task) = start_on(folder.path(), &disk).await;
    put_profile(&engine).await;
    disk.send_replace(Disk::Full);
    let stuck = tokio::spawn({
        let engine = engine.clone();
        async move { engine.submit(start_run(), None).await }
    });
    wait_for(|| engine.trouble()).await;
    tokio::time::timeout(LIMIT, task.stop()).await.unwrap();
    assert!(matches!(stuck.await.unwrap(), Err(EngineError::Stopped)));
    let (engine, task) = start(folder.path()).await;
    let kept = engine.read(|swarm| (swarm.profiles.len(), swarm.runs.len()));
    assert_eq!(kept, (1, 0));
    task.stop().await;
}

#[tokio::test]
async fn an_engine_that_broke_off_does_not_look_healthy() {
    let folder = tempfile::tempdir().unwrap();
    let disk = watch::Sender::new(Disk::Fine);
    let (engine, task) = start_on(folder.path(), &disk).await;
    disk.send_replace(Disk::Defect);
    let name = "desk".parse().unwrap();
    let request = ProfileRequest {
        builder: BuilderKind::Portage,
        snapshot: Digest::of(b"s"),
        source: "test".into(),
        base: None,
        rebuild: Default::default(),
    };
    let answer = engine.submit(Command::PutProfile { name, request }, None).await;
    assert!(matches!(answer, Err(EngineError::Stopped)));
    let trouble = wait_for(|| engine.trouble()).await;
    assert!(trouble.contains("restart the orchestrator"), "{trouble}");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_engine_spins_no_worker_is_held_up_and_the_watchdog_acts() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, task) = start(folder.path()).await;
    let spins = Arc::new(AtomicBool::new(true));
    let (shared, goes_on) = (Arc::clone(&engine.shared), Arc::clone(&spins));
    // As a decision without an end does.
    let spinner = std::thread::spawn(move || {
        let swarm = shared.swarm.write().unwrap();
        while goes_on.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
        drop(swarm);
    });
    while engine.try_read(|_| ()).is_some() {
        tokio::task::yield_now().await;
    }
    // More than there are workers.
    let read = |engine: Engine| tokio::spawn(async move { engine.read(|swarm| swarm.seq) });
    let readers: Vec<_> = (0..16).map(|_| read(engine.clone())).collect();
    let others = tokio::spawn(tokio::time::sleep(Duration::from_millis(10)));
    tokio::time::timeout(LIMIT, others).await.unwrap().unwrap();
    let (tell, told) = oneshot::channel();
    let (patience, supervisor) = (Duration::from_millis(100), Arc::new(Supervisor::from_environment()));
    let stuck = |stuck| drop(tell.send(stuck));
    let watchdog = watchdog::watch(engine.clone(), supervisor, patience, || None, stuck).unwrap();
    let stuck = tokio::time::timeout(LIMIT, told).await.unwrap().unwrap();
    assert!(stuck.to_string().contains("has not answered"), "{stuck}");
    assert!(readers.iter().all(|reader| !reader.is_finished()));
    drop(watchdog);
    spins.store(false, Ordering::Relaxed);
    spinner.join().unwrap();
    for reader in readers {
        tokio::time::timeout(LIMIT, reader).await.unwrap().unwrap();
    }
    task.stop().await;
}
