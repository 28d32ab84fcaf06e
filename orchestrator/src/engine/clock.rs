//! The engine's clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};
use swarm_common::time::TimeMs;

/// The engine's source of time.
pub trait Clock: Send + Sync {
    /// The current time; never goes back.
    fn now(&self) -> TimeMs;

    /// The machine's wall clock, which may be set forwards or back: for what is due at a time of
    /// day.
    fn wall(&self) -> TimeMs {
        self.now()
    }
}

/// Wall time at the start, advanced by the monotonic clock: setting the machine's clock while the
/// orchestrator runs does not move any lease.
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

    /// Reads the wall clock again: the monotonic clock does not count suspended time, and the
    /// machine may have started before it knew the time.
    fn wall(&self) -> TimeMs {
        wall()
    }
}
