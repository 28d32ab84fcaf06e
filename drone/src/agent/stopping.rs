//! How the agent stops. After the first request it waits for its builds, after the second it does not.

use super::{Agent, ClaimState, Item, Output, Stage};
use swarm_common::time::TimeMs;

/// How long delivering handed-back attempts may take after a forced stop.
pub(super) const FORCED_STOP_GRACE_MS: u64 = 10_000;

#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    /// After this time, a stop becomes forced, and a forced stop no longer waits for deliveries.
    pub(super) deadline: TimeMs,
    pub(super) forced: bool,
    pub(super) signing_off: bool,
}

impl Agent {
    /// Whether the agent neither builds nor delivers. Results that the orchestrator may want later do not
    /// count.
    pub(super) fn is_at_rest(&self) -> bool {
        self.items.values().all(Item::is_kept)
    }

    pub(super) fn stop_requested(&mut self, now: TimeMs) {
        self.stop = Some(match self.stop {
            None => Stop { deadline: now + self.timing.drain_timeout_ms, forced: false, signing_off: false },
            Some(stop) if !stop.forced => {
                Stop { deadline: now + FORCED_STOP_GRACE_MS, forced: true, signing_off: stop.signing_off }
            }
            Some(stop) => stop,
        });
        self.beat_soon(now);
    }

    pub(super) fn pump_stop(&mut self, now: TimeMs, outputs: &mut Vec<Output>) {
        let Some(mut stop) = self.stop else { return };
        if !stop.forced && now >= stop.deadline {
            stop = Stop { deadline: now + FORCED_STOP_GRACE_MS, forced: true, ..stop };
        }
        if stop.forced {
            for (&attempt, item) in self.items.iter_mut().filter(|(_, i)| i.is_building()) {
                let reason = "the drone was stopped during the build".to_owned();
                item.stage = Stage::Killing { hand_back: Some(reason) };
                outputs.push(Output::Kill(attempt));
            }
        }
        // An open claim may still return an attempt, which must be handed back first.
        let claim_open = matches!(self.claim, ClaimState::Open(_));
        // A heartbeat that arrives after the sign-off would mark the drone as online again.
        let nothing_left = self.is_at_rest() && (stop.forced || !claim_open) && !self.beat_open;
        let out_of_time = stop.forced && now >= stop.deadline;
        if (nothing_left || out_of_time) && !stop.signing_off {
            stop.signing_off = true;
            outputs.push(Output::SignOff);
        }
        self.stop = Some(stop);
    }
}
