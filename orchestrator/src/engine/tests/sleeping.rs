//! A machine that is suspended.

use super::*;
use swarm_core::Event;

const HOUR: u64 = 3_600_000;

/// The clock of a machine that can be suspended. Only its wall clock counts suspended time.
#[derive(Default)]
struct Sleeper {
    real: SystemClock,
    slept_ms: AtomicU64,
}

impl Clock for Sleeper {
    fn now(&self) -> TimeMs {
        self.real.now()
    }

    fn wall(&self) -> TimeMs {
        self.real.now() + self.slept_ms.load(Ordering::SeqCst)
    }

    fn suspended_ms(&self) -> u64 {
        // The machine was booted long before the orchestrator was started.
        HOUR + self.slept_ms.load(Ordering::SeqCst)
    }
}

// fault: 58
#[tokio::test]
async fn after_a_suspend_the_time_is_right_at_once_and_the_past_is_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(Sleeper::default());
    let journal = SqliteJournal::open(&folder.path().join("journal.sqlite")).unwrap();
    let (engine, task) = Engine::start(Box::new(journal), Policy::default(), clock.clone()).await.unwrap();
    let drone = enrol(&engine).await;
    put_profile(&engine).await;
    engine.submit(start_run(), None).await.unwrap();
    let attempt = engine.claim(drone, claim("k", 0)).await.unwrap().assignment.unwrap().attempt;
    let noted = |swarm: &Swarm| {
        let (run, attempt) = (&swarm.runs[&RunId(1)], &swarm.attempts[&attempt]);
        (run.started_at, attempt.started_at, swarm.tokens.values().map(|t| t.expires_at).collect::<Vec<_>>())
    };
    let (before, lease) = engine.read(|swarm| (noted(swarm), swarm.live.leases[&attempt]));

    clock.slept_ms.fetch_add(8 * HOUR, Ordering::SeqCst);
    assert!(engine.steady().since(lease) > 7 * HOUR);
    wait_for(|| (engine.now().0.abs_diff(engine.wall().0) < 1_000).then_some(())).await;
    let (after, leases) = engine.read(|swarm| (noted(swarm), swarm.live.leases.clone()));
    assert_eq!(after, before);
    assert_eq!(leases[&attempt], lease + 8 * HOUR, "what is left of it");
    let records = engine.records(0, usize::MAX).await.unwrap();
    assert!(!records.iter().any(|record| matches!(record.event, Event::ClockSet { .. })), "{records:?}");
    let online = engine.read(|swarm| swarm.drones[&drone].state());
    assert_eq!(online, swarm_common::state::DroneState::Online);
    task.stop().await;
}
