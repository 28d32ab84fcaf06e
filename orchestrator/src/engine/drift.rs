//! Detects that the machine's clock and the engine's time have diverged because a clock that was wrong at the
//! start was corrected. A clock may also be wrong only briefly, so a difference is accepted only if it lasts.
//! Suspends are measured separately, so that they are not mistaken for a wrong clock.

use std::time::{Duration, Instant};
use swarm_common::time::TimeMs;

/// Smaller differences, in milliseconds, are normal for synchronized clocks.
const LITTLE_MS: u64 = 5_000;

/// A difference that changes by less than this, in milliseconds, counts as the same one.
const SAME_MS: u64 = 2_000;

/// How long a difference must last to be accepted.
const BELIEVED: Duration = Duration::from_secs(30);

/// Shorter suspends, in milliseconds, are counted together with the next one.
const SHORT_MS: u64 = 1_000;

/// The difference between wall clock and engine time, in milliseconds, and when it was first seen.
#[derive(Debug, Default)]
pub(super) struct Drift(Option<(i64, Instant)>);

impl Drift {
    /// Compares the engine's time with the wall clock. Returns the correction in milliseconds once the
    /// difference has lasted.
    pub(super) fn look(&mut self, times: TimeMs, wall: TimeMs, at: Instant) -> Option<i64> {
        let by_ms = signed(wall.0) - signed(times.0);
        if by_ms.unsigned_abs() < LITTLE_MS {
            self.0 = None;
            return None;
        }
        match self.0 {
            Some((before, since)) if before.abs_diff(by_ms) < SAME_MS => {
                (at.saturating_duration_since(since) >= BELIEVED).then(|| {
                    self.0 = None;
                    by_ms
                })
            }
            _ => {
                self.0 = Some((by_ms, at));
                None
            }
        }
    }
}

/// How much suspended time the engine's time already includes, in milliseconds, as counted by the clock.
#[derive(Debug)]
pub(super) struct Sleep(u64);

impl Sleep {
    /// Ignores time suspended before now.
    pub(super) fn after(suspended_ms: u64) -> Self {
        Self(suspended_ms)
    }

    /// How long the machine was suspended since the last call that returned a time, in milliseconds.
    pub(super) fn look(&mut self, suspended_ms: u64) -> Option<u64> {
        let slept_ms = suspended_ms.saturating_sub(self.0);
        (slept_ms >= SHORT_MS).then(|| {
            self.0 = suspended_ms;
            slept_ms
        })
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_difference_that_stays_is_believed() {
        let mut drift = Drift::default();
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let wall = |by: i64| TimeMs(10_000_000_u64.saturating_add_signed(by));
        let times = wall(0);
        for (seconds, by, expected) in [
            (0, 3_000, None),
            // Two hours ahead, but only briefly.
            (1, 7_200_000, None),
            (20, 7_200_100, None),
            (21, 0, None),
            // Two hours behind, and it lasts.
            (40, -7_200_000, None),
            (60, -7_200_500, None),
            (70, -7_200_500, Some(-7_200_500)),
            (71, 0, None),
        ] {
            assert_eq!(drift.look(times, wall(by), at(seconds)), expected, "after {seconds} s");
        }
    }

    #[test]
    fn every_suspend_is_counted_once() {
        let mut sleep = Sleep::after(70_000);
        let found = [70_000, 70_600, 71_200, 71_100, 28_871_200].map(|suspended| sleep.look(suspended));
        assert_eq!(found, [None, None, Some(1_200), None, Some(28_800_000)]);
    }
}
