//! The clock of the orchestrator's machine, which may be wrong and may be set, and the engine's time: what
//! `engine/clock.rs` and `engine/drift.rs` do in production.

use super::rng::Rng;
use swarm_common::time::TimeMs;

/// A difference that lasts this long is accepted.
const BELIEVED_MS: u64 = 30_000;

/// Smaller differences are ignored.
const LITTLE_MS: u64 = 5_000;

const DAY_MS: u64 = 24 * 3_600_000;

/// Both clocks, as differences to the true time.
#[derive(Debug, Default)]
pub struct Clock {
    machine_ms: i64,
    engine_ms: i64,
    apart: Option<(i64, TimeMs)>,
}

impl Clock {
    /// Sets the machine's clock by seconds, hours or a year, forwards or back.
    pub fn set(&mut self, rng: &mut Rng) {
        let most = [20_000, DAY_MS / 12, 400 * DAY_MS][rng.below(3) as usize];
        self.machine_ms = rng.below(2 * most) as i64 - most as i64;
    }

    /// Starts the engine: its time is the machine's, but never behind the journal's.
    pub fn start(&mut self, now: TimeMs, journal: TimeMs) {
        self.engine_ms = self.machine_ms;
        self.engine_ms += journal.since(self.times(now)) as i64;
        self.apart = None;
    }

    pub fn times(&self, now: TimeMs) -> TimeMs {
        TimeMs(now.0.saturating_add_signed(self.engine_ms))
    }

    /// By how much the engine's time must be moved at this moment, if at all.
    pub fn look(&mut self, now: TimeMs) -> Option<i64> {
        let by_ms = self.machine_ms - self.engine_ms;
        match self.apart {
            _ if by_ms.unsigned_abs() < LITTLE_MS => self.apart = None,
            Some((same, since)) if same == by_ms => {
                return (now.since(since) >= BELIEVED_MS).then_some(by_ms);
            }
            _ => self.apart = Some((by_ms, now)),
        }
        None
    }

    /// Moves the engine's time.
    pub fn follow(&mut self) {
        self.engine_ms = self.machine_ms;
    }
}
