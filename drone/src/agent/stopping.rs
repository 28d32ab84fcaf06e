//! How the agent comes to its end: it waits for its builds once, and not twice.

use super::{Agent, ClaimState, Output, Stage};
use swarm_common::time::TimeMs;

/// After a forced stop, delivery of what was handed back is tried for this long.
pub(super) const LAST_WORDS_MS: u64 = 10_000;

/// A stop that was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    /// Nothing is waited for after this.
    pub(super) deadline: TimeMs,
    pub(super) forced: bool,
    pub(super) signing_off: bool,
}

impl Agent {
    pub(super) fn stop_requested(&mut self, now: TimeMs) {
        self.stop = Some(match self.stop {
            None => Stop { deadline: now + self.timing.drain_timeout_ms, forced: false, signing_off: false },
            Some(stop) if !stop.forced => {
                Stop { deadline: now + LAST_WORDS_MS, forced: true, signing_off: stop.signing_off }
            }
            Some(stop) => stop,
        });
        self.beat_soon(now);
    }

    pub(super) fn pump_stop(&mut self, now: TimeMs, outputs: &mut Vec<Output>) {
        let Some(mut stop) = self.stop else { return };
        if !stop.forced && now >= stop.deadline {
            stop = Stop { deadline: now + LAST_WORDS_MS, forced: true, ..stop };
        }
        if stop.forced {
            for (&attempt, item) in self.items.iter_mut().filter(|(_, i)| i.is_building()) {
                let reason = "the drone was stopped before the build ended".to_owned();
                item.stage = Stage::Killing { hand_back: Some(reason) };
                outputs.push(Output::Kill(attempt));
            }
        }
        // An open claim may still bring an attempt, which is handed back before the end.
        let claim_open = matches!(self.claim, ClaimState::Open(_));
        // A heartbeat that arrives after the sign-off would say that the drone is back.
        let nothing_left = self.items.is_empty() && (stop.forced || !claim_open) && !self.beat_open;
        let out_of_time = stop.forced && now >= stop.deadline;
        if (nothing_left || out_of_time) && !stop.signing_off {
            stop.signing_off = true;
            outputs.push(Output::SignOff);
        }
        self.stop = Some(stop);
    }
}
