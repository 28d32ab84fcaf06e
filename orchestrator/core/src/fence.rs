//! The fence: whether the result of an attempt still counts. All results pass it, so even if leases
//! or silence are misjudged, no result is accepted twice.

use crate::{
    refusal::Refusal,
    state::{Ending, Job, Swarm},
    text,
};
use swarm_common::{id::*, state::*};

/// The verdict of the fence on a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// The result counts.
    Open,
    /// The result was counted before; the drone did not get the answer.
    Repeat,
}

/// Checks whether the result of `attempt`, delivered by `drone`, still counts.
///
/// This check alone ensures that exactly one result per package is accepted. An attempt passes if it is live,
/// or if it was lost and no other attempt has delivered. Any other attempt is stale.
///
/// # Errors
/// The attempt is unknown, belongs to another drone, or has ended for good; or its work is
/// received, quarantined, cancelled or over.
pub fn fence(swarm: &Swarm, drone: DroneId, attempt: AttemptId) -> Result<Fence, Refusal> {
    let record = swarm.attempts.get(&attempt).ok_or(Refusal::UnknownAttempt(attempt))?;
    if record.drone != drone {
        return Err(Refusal::NotYours { attempt, drone });
    }
    let stale = |reason: String| Err(Refusal::StaleAttempt { attempt, reason });
    match &record.ending {
        Some(Ending::Accepted) => return Ok(Fence::Repeat),
        None | Some(Ending::Lost(_)) => {}
        Some(ending) => return stale(text::ending(ending)),
    }
    match record.job {
        Job::Plan(run) => match swarm.runs.get(&run).map(|r| r.state) {
            Some(RunState::Planning) => Ok(Fence::Open),
            Some(state) => stale(format!("run {run} is {state}")),
            None => stale(format!("run {run} is gone")),
        },
        Job::Build(package) => match swarm.packages.get(&package).map(|p| p.state) {
            Some(PackageState::Needed | PackageState::Delegated) => Ok(Fence::Open),
            Some(state) => stale(format!("package {package} is {state}")),
            None => stale(format!("package {package} is gone")),
        },
        Job::Base(run) => match swarm.following(run) {
            Some((.., following)) if following.after < attempt => Ok(Fence::Open),
            _ => stale(format!("no base is being updated to {run}")),
        },
    }
}
