//! A clock that tests can set forward.

use std::sync::atomic::{AtomicU64, Ordering};
use swarm_common::time::TimeMs;
use swarm_orchestrator::engine::{Clock, SystemClock};

/// The machine's clock, and how far this clock is ahead of it.
#[derive(Default)]
pub struct TestClock {
    real: SystemClock,
    ahead_ms: AtomicU64,
}

impl TestClock {
    /// Sets the clock forward by this many milliseconds.
    pub fn forward(&self, ms: u64) {
        self.ahead_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> TimeMs {
        self.real.now() + self.ahead_ms.load(Ordering::SeqCst)
    }
}
