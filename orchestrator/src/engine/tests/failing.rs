//! The engine with a journal that fails temporarily or permanently.

use super::*;
use tokio::task::JoinHandle;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Disk {
    Fine,
    Full,
    /// It is unknown whether another orchestrator leads.
    Lapsed,
    Defect,
}

/// A journal on a disk that fails on request.
struct OnDisk {
    inner: SqliteJournal,
    disk: watch::Receiver<Disk>,
}

impl Journal for OnDisk {
    fn load(&mut self, into: &mut dyn Replay) -> Result<(), JournalError> {
        self.inner.load(into)
    }
    fn append(
        &mut self,
        expected_seq: u64,
        records: &[Record],
        delta: &QueueDelta,
    ) -> Result<(), JournalError> {
        match *self.disk.borrow() {
            Disk::Fine | Disk::Lapsed => {}
            Disk::Full => return Err(JournalError::NoSpace { path: "/var/lib/build-swarm/journal".into() }),
            Disk::Defect => panic!("a defect, as told by the test"),
        }
        self.inner.append(expected_seq, records, delta)
    }
    fn held(&self) -> Result<(), JournalError> {
        match *self.disk.borrow() {
            Disk::Lapsed => Err(JournalError::Away { journal: "redis".into(), what: "it lapsed".into() }),
            _ => Ok(()),
        }
    }
    fn checkpoint(&mut self, seq: u64, state: &str) -> Result<(), JournalError> {
        self.inner.checkpoint(seq, state)
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

/// An engine with a profile, whose disk has just become full while a run waits to be started.
async fn stuck_on(
    folder: &Path,
    disk: &watch::Sender<Disk>,
) -> (Engine, EngineTask, JoinHandle<Result<Reply, EngineError>>) {
    let (engine, task) = start_on(folder, disk).await;
    put_profile(&engine).await;
    disk.send_replace(Disk::Full);
    let stuck = tokio::spawn({
        let engine = engine.clone();
        async move { engine.submit(start_run(), None).await }
    });
    (engine, task, stuck)
}

#[tokio::test]
async fn a_full_disk_stops_everything_with_a_reason_and_then_it_goes_on_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let disk = watch::Sender::new(Disk::Fine);
    let (engine, task, stuck) = stuck_on(folder.path(), &disk).await;
    let error = wait_for(|| engine.error()).await;
    assert!(error.contains("no space left"), "{error}");
    let refused = engine.submit(start_run(), None).await.unwrap_err();
    assert!(matches!(&refused, EngineError::Stalled(why) if why.contains("no space left")), "{refused}");
    assert!(!stuck.is_finished());
    // Readers must not see a decision that may never be journaled.
    assert!(engine.read(|swarm| swarm.runs.is_empty()));
    disk.send_replace(Disk::Fine);
    let reply = tokio::time::timeout(LIMIT, stuck).await.unwrap().unwrap().unwrap();
    assert_eq!(reply, Reply::Run(RunId(1)));
    assert!(engine.read(|swarm| swarm.runs.contains_key(&RunId(1))));
    assert_eq!(engine.error(), None);
    task.stop().await;
}

#[tokio::test]
async fn what_is_never_journaled_reaches_both_sides_although_the_lock_lapsed_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let disk = watch::Sender::new(Disk::Fine);
    let (engine, task) = start_on(folder.path(), &disk).await;
    let drone = enrol(&engine).await;
    let heartbeat = || {
        let vitals = Vitals { memory_free_bytes: 1, ..Vitals::default() };
        let request = HeartbeatRequest {
            vitals,
            attempts: vec![],
            draining: false,
            boot_id: String::new(),
            facts: None,
            highest_attempt: None,
        };
        engine.submit(Command::Heartbeat { drone, request }, None)
    };
    // The engine is blocked here after checking the lock, so that its next decisions collect in a batch.
    let (go, wait) = sync_channel::<()>(0);
    engine.put(Message::Pulse(Box::new(move || _ = wait.recv()))).unwrap();
    let lapse = disk.clone();
    engine.put(Message::Pulse(Box::new(move || _ = lapse.send_replace(Disk::Lapsed)))).unwrap();
    let mut lost = std::pin::pin!(heartbeat());
    assert!(futures_util::poll!(&mut lost).is_pending());
    go.send(()).unwrap();
    let refused = tokio::time::timeout(LIMIT, lost).await.unwrap().unwrap_err();
    assert!(matches!(&refused, EngineError::Stalled(why) if why.contains("lapsed")), "{refused}");
    disk.send_replace(Disk::Fine);
    wait_for(|| engine.error().is_none().then_some(())).await;
    // Debug builds compare both copies after each batch.
    put_profile(&engine).await;
    assert!(engine.submit(start_run(), None).await.is_ok());
    task.stop().await;
}

#[tokio::test]
async fn a_start_on_a_full_disk_says_so_and_is_noted_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let disk = watch::Sender::new(Disk::Full);
    let (engine, task) = start_on(folder.path(), &disk).await;
    assert!(engine.error().is_some_and(|why| why.contains("no space left")));
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
    let (engine, task, stuck) = stuck_on(folder.path(), &disk).await;
    wait_for(|| engine.error()).await;
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
        publish: Default::default(),
        cpu: Default::default(),
    };
    let answer = engine.submit(Command::PutProfile { name, request }, None).await;
    assert!(matches!(answer, Err(EngineError::Stopped)));
    let error = wait_for(|| engine.error()).await;
    assert!(error.contains("restart the orchestrator"), "{error}");
    task.stop().await;
}
