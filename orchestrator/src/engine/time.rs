//! The engine's time: suspends, clock corrections, and what is due.

use super::{
    Engine, Shared,
    batch::Batch,
    work::{IDLE_TICK, TICK, Worker},
};
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use swarm_common::time::TimeMs;
use swarm_core::{Command, Swarm};

/// If a tick is later than this, work did not delay it: the process was stopped.
const STANDSTILL: Duration = Duration::from_secs(5);

impl Engine {
    /// The engine's time, used for leases and deadlines. Read it before the state that you compare it with,
    /// so that the state is never older than the time.
    #[must_use]
    pub fn now(&self) -> TimeMs {
        self.shared.now()
    }

    /// The machine's wall clock, for times of day.
    #[must_use]
    pub fn wall(&self) -> TimeMs {
        self.shared.clock.wall()
    }

    /// A time for measuring durations only: it advances steadily, also during a suspend, no matter how the
    /// machine's clock is set.
    #[must_use]
    pub fn steady(&self) -> TimeMs {
        self.shared.clock.now() + self.shared.clock.suspended_ms()
    }

    /// The journal's last time before this orchestrator began to lead; `None` until then, and if the journal
    /// was empty.
    #[must_use]
    pub fn continued_from(&self) -> Option<TimeMs> {
        self.shared.continued_from.get().copied().filter(|&at| at > TimeMs(0))
    }
}

impl Shared {
    pub(super) fn now(&self) -> TimeMs {
        TimeMs(self.clock.now().0.saturating_add_signed(self.offset_ms.load(Ordering::Acquire)))
    }

    pub(super) fn move_time(&self, by_ms: i64) {
        self.offset_ms.fetch_add(by_ms, Ordering::Release);
    }

    /// Moves the engine's time forward if it is before the journal's last time.
    pub(super) fn catch_up(&self, journal: TimeMs) {
        let behind = i64::try_from(journal.since(self.now())).unwrap_or(i64::MAX);
        self.move_time(behind);
        let _ = self.continued_from.set(journal);
        if behind > super::CLOCK_BEHIND_MS {
            tracing::warn!(
                behind_ms = behind,
                "the machine's clock is behind the journal; continuing from the journal's last time"
            );
        }
    }
}

impl Worker {
    /// The time for the next decision. Readers get it only together with the state decided at it, so that
    /// they never compare it with times that were not moved yet.
    pub(super) fn now(&self) -> TimeMs {
        TimeMs(self.shared.now().0.saturating_add_signed(self.ahead_ms))
    }

    /// Adds the time that the machine was suspended since the last call.
    pub(super) fn wake_up(&mut self) -> Option<u64> {
        let slept_ms = self.sleep.look(self.shared.clock.suspended_ms())?;
        self.ahead_ms = self.ahead_ms.saturating_add_unsigned(slept_ms);
        Some(slept_ms)
    }

    /// Decides what is due with the passage of time, if a tick is due. Returns whether it was.
    pub(super) fn tick(&mut self, swarm: &mut Swarm, batch: &mut Batch) -> bool {
        let silence = self.last_tick.elapsed();
        if silence < TICK {
            return false;
        }
        self.last_tick = Instant::now();
        let before = batch.records.len();
        let slept_ms = self.wake_up().unwrap_or(0);
        let stopped = Some(silence).filter(|&silence| silence > IDLE_TICK + STANDSTILL).unwrap_or_default();
        let for_ms = slept_ms.saturating_add(u64::try_from(stopped.as_millis()).unwrap_or(u64::MAX));
        // These commands are never refused.
        if for_ms > 0 {
            tracing::warn!(for_ms, "the orchestrator was suspended; extending the leases of drones");
            let _ = self.handle(swarm, batch, Command::NoteStandstill { for_ms }, None);
        }
        if let Some(by_ms) = self.drift.look(self.now(), self.shared.clock.wall(), self.last_tick) {
            tracing::warn!(by_ms, "the machine's clock was changed; adjusting the orchestrator's time");
            let _ = self.handle(swarm, batch, Command::SetClock { by_ms }, None);
            self.dismiss(batch, "the clock was changed", |_| true);
            self.ahead_ms += by_ms;
        }
        let _ = self.handle(swarm, batch, Command::Maintain, None);
        self.shared.note_maintenance(self.now(), &batch.records[before..]);
        true
    }
}
