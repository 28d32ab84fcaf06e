//! The engine's clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};
use swarm_common::time::TimeMs;

/// Where the engine reads the time.
pub trait Clock: Send + Sync {
    /// The time; never earlier than a time given before.
    fn now(&self) -> TimeMs;

    /// What the machine's clock shows at this moment, which people may set either way: for
    /// what is due at a time of day.
    fn wall(&self) -> TimeMs {
        self.now()
    }
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
        Self { started_at: wall(), started: Instant::now() }
    }
}

fn wall() -> TimeMs {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimeMs(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
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

    /// The steady clock stands still while the machine sleeps, and a machine may have started
    /// before it knew the time.
    fn wall(&self) -> TimeMs {
        wall()
    }
}
