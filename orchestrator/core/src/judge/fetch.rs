//! Source files that cannot be had. One that nobody gave is tried for on every drone, as
//! one of them may have it or reach another mirror, and once more after a while, as the
//! network may have been away; then the package is given up, for this run only. One that
//! is another than the Manifest names is the package's own fault: trying cannot mend it.

use super::{Verdict, drones_for, past};
use crate::{
    attempt::{Attempt, Ending},
    swarm::Swarm,
};
use swarm_common::{id::*, state::FailureCause, time::TimeMs};

/// Whether an attempt ended because of a source file, in whichever way.
#[must_use]
pub fn failed(attempt: &Attempt) -> bool {
    is(attempt, FailureCause::SourceMissing) || is(attempt, FailureCause::SourceMismatch)
}

fn is(attempt: &Attempt, cause: FailureCause) -> bool {
    matches!(&attempt.ending, Some(Ending::Failed(failure)) if failure.cause == Some(cause))
}

/// What follows for a package whose source file nobody gave to `current`, if every drone
/// has tried now.
pub(super) fn missing(
    swarm: &Swarm,
    now: TimeMs,
    id: PackageId,
    current: AttemptId,
    (entropy, what): (u64, &str),
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
    Some(match first {
        Some(first) if now.since(first) >= patience_ms => {
            let reason = format!("no drone could fetch it in {} tries, the last: {what}", before.len() + 1);
            Verdict::GiveUp { reason, lasting: false }
        }
        _ => Verdict::Retry {
            after_ms: patience_ms + entropy % (patience_ms / 4 + 1),
            reason: format!("no drone could fetch it, the last: {what}"),
        },
    })
}
