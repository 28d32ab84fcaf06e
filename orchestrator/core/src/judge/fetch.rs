//! Judges failures to fetch source files. A file that no mirror provided is tried on every drone, since one
//! may have it or reach another mirror, and once more after a while, since the network may have been down.
//! Then the package is given up for this run only. A file that differs from the Manifest is the package's own
//! fault, and retrying does not help.

use super::{Verdict, drones_for, past};
use crate::{
    reason::{Reason, SourcesMissing},
    state::{Attempt, Ending, Swarm},
};
use swarm_common::{id::*, state::FailureCause, time::TimeMs};

/// Whether an attempt failed because a source file was missing or wrong.
#[must_use]
pub fn failed(attempt: &Attempt) -> bool {
    is(attempt, FailureCause::SourceMissing) || is(attempt, FailureCause::SourceMismatch)
}

fn is(attempt: &Attempt, cause: FailureCause) -> bool {
    matches!(&attempt.ending, Some(Ending::Failed(failure)) if failure.cause == Some(cause))
}

/// The verdict for a package whose source file `current` could not fetch, if every drone has now
/// tried.
pub(super) fn missing(
    swarm: &Swarm,
    now: TimeMs,
    id: PackageId,
    current: AttemptId,
    (entropy, error): (u64, String),
) -> Option<Verdict> {
    let drone = swarm.attempts.get(&current)?.drone;
    let before: Vec<&Attempt> =
        past(swarm, id, current).filter(|a| is(a, FailureCause::SourceMissing)).collect();
    let tried = |d: DroneId| d == drone || before.iter().any(|a| a.drone == d);
    if !drones_for(swarm, id).all(tried) {
        return None;
    }
    let patience_ms = swarm.policy.fetch_patience_ms;
    let first = before.iter().filter_map(|a| a.ended_at).min();
    let missing = |attempts| Reason::SourcesMissing(Box::new(SourcesMissing { error, attempts }));
    Some(match first {
        Some(first) if now.since(first) >= patience_ms => {
            Verdict::GiveUp { reason: missing(Some(before.len() as u64 + 1)), lasting: false }
        }
        _ => {
            Verdict::Retry { after_ms: patience_ms + entropy % (patience_ms / 4 + 1), reason: missing(None) }
        }
    })
}
