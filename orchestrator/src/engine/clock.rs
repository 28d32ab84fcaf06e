//! The engine's clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};
use swarm_common::time::TimeMs;

/// Where the engine reads the time.
pub trait Clock: Send + Sync {
    /// The time; never earlier than a time given before.
    fn now(&self) -> TimeMs;
}

/// The machine's wall time at the start, and from there on the steady clock: setting the
/// machine's clock moves no lease while the orchestrator runs.
#[derive(Debug)]
pub struct SystemClock {
    started_at: TimeMs,
    started: Instant,
}

impl SystemClock {
    /// A clock that starts now.
    #[must_use]
    pub fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_at = TimeMs(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX));
        Self { started_at, started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> TimeMs {
        self.started_at + u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
