//! The engine's clock.

use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use swarm_common::time::TimeMs;

pub trait Clock: Send + Sync {
    /// The current time; never goes back, and does not count suspended time.
    fn now(&self) -> TimeMs;

    /// The machine's wall clock, for times of day. It may be set forwards or back.
    fn wall(&self) -> TimeMs {
        self.now()
    }

    /// Total time that the machine has been suspended, in milliseconds, since an arbitrary fixed moment.
    fn suspended_ms(&self) -> u64 {
        0
    }
}

/// Wall time at the start, advanced by the monotonic clock, so that setting the machine's clock does not move
/// any lease.
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

    /// Reads the wall clock again, because the monotonic clock does not count suspended time, and the machine
    /// may have started with a wrong time.
    fn wall(&self) -> TimeMs {
        wall()
    }

    /// The difference between `CLOCK_BOOTTIME` and `CLOCK_MONOTONIC`.
    fn suspended_ms(&self) -> u64 {
        // In this order, a delay between the two reads makes the result too small, which the next call
        // corrects.
        let booted = milliseconds(clock_gettime(ClockId::Boottime));
        booted.saturating_sub(milliseconds(clock_gettime(ClockId::Monotonic)))
    }
}

fn milliseconds(time: Timespec) -> u64 {
    let of_seconds = u64::try_from(time.tv_sec).unwrap_or_default().saturating_mul(1000);
    of_seconds + u64::try_from(time.tv_nsec).unwrap_or_default() / 1_000_000
}
