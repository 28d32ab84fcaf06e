//! The drone's time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};
use swarm_common::time::TimeMs;

/// Wall time at the start, steady from there on: setting the machine's clock moves no
/// deadline.
#[derive(Debug)]
pub struct Clock {
    started_at: TimeMs,
    started: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started_at: TimeMs(now.as_millis() as u64), started: Instant::now() }
    }

    /// What it shows.
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
