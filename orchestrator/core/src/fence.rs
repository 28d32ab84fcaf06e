//! The fence: whether the result of an attempt still counts. It stands at the one place
//! where results come in, so leases and silence may be judged wrongly at times and still
//! nothing is ever accepted twice.

use crate::{
    attempt::{Ending, Job},
    follow,
    refusal::Refusal,
    swarm::Swarm,
};
use swarm_common::{id::*, state::*};

/// What the fence says to a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// It counts.
    Open,
    /// It counted already; the drone did not hear the answer.
    Repeat,
}

/// Whether the result of `attempt`, brought by `drone`, still counts.
///
/// This check alone makes sure that of all attempts at a package exactly one result is
/// accepted: an attempt that is live, or was lost while nobody else has delivered,
/// passes; every other one is stale.
///
/// # Errors
/// Unknown or another drone's attempt; an attempt whose end leaves no way back; work
/// that is received, quarantined, cancelled or over.
pub fn fence(swarm: &Swarm, drone: DroneId, attempt: AttemptId) -> Result<Fence, Refusal> {
    let record = swarm.attempts.get(&attempt).ok_or(Refusal::UnknownAttempt(attempt))?;
    if record.drone != drone {
        return Err(Refusal::NotYours { attempt, drone });
    }
    let stale = |reason: String| Err(Refusal::StaleAttempt { attempt, reason });
    match &record.ending {
        Some(Ending::Accepted) => return Ok(Fence::Repeat),
        None | Some(Ending::Lost(_)) => {}
        Some(ending) => return stale(ending.words()),
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
        Job::Base(run) => match follow::of_run(swarm, run) {
            Some((.., following)) if following.after < attempt => Ok(Fence::Open),
            _ => stale(format!("no base is brought up to {run} any more")),
        },
    }
}
