//! The drone's clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};
use swarm_common::time::TimeMs;

/// A clock that reads the wall clock once at the start and then advances monotonically, so that setting the
/// system clock does not move deadlines.
#[derive(Debug)]
pub struct Clock {
    started_at: TimeMs,
    started: Instant,
}

impl Clock {
    #[must_use]
    pub fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started_at: TimeMs(now.as_millis() as u64), started: Instant::now() }
    }

    #[must_use]
    pub fn now(&self) -> TimeMs {
        self.started_at + self.started.elapsed().as_millis() as u64
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
