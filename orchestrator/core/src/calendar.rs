//! Schedules and the pause: when runs start automatically, and when no work is assigned.
//!
//! The core does not know the rules of time zones. The shell computes due times ([`Forecast`](crate::state::Forecast)) and
//! reports when one has come; the core decides what happens then.

use crate::state::{Pause, Swarm};
use swarm_common::time::TimeMs;

/// The current pause. `None` if its time is over.
#[must_use]
pub fn pause(swarm: &Swarm, now: TimeMs) -> Option<&Pause> {
    swarm.pause.as_ref().filter(|pause| pause.until > now)
}
