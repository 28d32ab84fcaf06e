//! What drones began before the journal was restored. The journal does not know these attempts, but a
//! drone tells what each is made from. One that a run needs is taken back as if the drone had just
//! claimed it: with build ids of its own, so that what was published with the old ones is not replaced.

use crate::{
    assign::{MOST_DUPLICATES, next_build_ids},
    decision::was_restored,
    event::Event,
    refusal::Refusal,
    state::{Job, Swarm},
};
use std::collections::BTreeSet;
use swarm_common::{
    id::*,
    state::*,
    time::TimeMs,
    wire::drone::{AttemptStatus, MadeFrom},
};

/// The most unknown attempts of a heartbeat that are considered; the next one considers more.
const MOST: usize = 16;

/// What becomes of the unknown attempts of one heartbeat.
#[derive(Debug)]
pub(super) struct Unknown {
    /// It has just been found that the journal was rolled back.
    just_found: bool,
    considered: usize,
    taken: BTreeSet<PackageId>,
}

impl Unknown {
    pub(super) fn new(just_found: bool) -> Self {
        Self { just_found, considered: 0, taken: BTreeSet::new() }
    }

    /// What becomes of an attempt that the journal does not know: these events if it is taken back, and
    /// none if that cannot be told yet.
    ///
    /// # Errors
    /// The drone must discard it: no run needs it.
    pub(super) fn attempt(
        &mut self,
        swarm: &Swarm,
        now: TimeMs,
        id: DroneId,
        status: &AttemptStatus,
    ) -> Result<Vec<Event>, Refusal> {
        let attempt = status.attempt;
        self.considered += 1;
        if self.just_found || self.considered > MOST {
            return Ok(Vec::new());
        }
        let made = status.made_from.filter(|_| was_restored(swarm, now));
        let made = made.ok_or(Refusal::UnknownAttempt(attempt))?;
        let drone = swarm.drones.get(&id).ok_or(Refusal::UnknownDrone(id))?;
        // A plan that is being made may need the package.
        let may_be_planned =
            || swarm.runs.values().any(|run| run.state == RunState::Planning && drone.builds_for(run));
        let needed = match drone.state_when_heard() {
            DroneState::Pending => return Ok(Vec::new()),
            DroneState::Grounded => None,
            _ => need(swarm, id, made),
        };
        let Some((package, state)) = needed else {
            return if may_be_planned() { Ok(Vec::new()) } else { Err(Refusal::UnknownAttempt(attempt)) };
        };
        let mut live = swarm.attempts_at(Job::Build(package));
        let duplicate_of = match state {
            PackageState::Needed => None,
            // A result that is there comes sooner than one that is being built.
            PackageState::Delegated if status.phase >= Phase::Uploading => {
                let (first, _) = live.find(|(_, record)| record.duplicate_of.is_none()).unzip();
                let doubled = live.filter(|(_, record)| record.duplicate_of.is_some()).count();
                if first.is_none() || doubled >= MOST_DUPLICATES {
                    return Ok(Vec::new());
                }
                first
            }
            _ => return Ok(Vec::new()),
        };
        // Later ids are assigned again.
        let is_past = attempt.0 <= swarm.last.attempt;
        if !is_past || !self.taken.insert(package) {
            return Ok(Vec::new());
        }
        let mut events = vec![Event::PackageDelegated {
            package,
            attempt,
            drone: id,
            key: format!("returned-{attempt}"),
            build_ids: next_build_ids(swarm, package),
            duplicate_of,
            returned: true,
        }];
        if status.phase > Phase::Assigned {
            events.push(Event::AttemptPhaseReached { attempt, phase: status.phase });
        }
        Ok(events)
    }
}

/// The package that is to be made from this by the drone, and its state; preferably one that is needed
/// now. `None` if there is none that anybody waits for.
fn need(swarm: &Swarm, id: DroneId, made: MadeFrom) -> Option<(PackageId, PackageState)> {
    let drone = swarm.drones.get(&id)?;
    let runs = swarm.runs.values().filter(|run| !run.state.is_over() && run.base.digest() == made.base);
    let packages = runs.flat_map(|run| run.packages.iter().map(move |package| (run, package)));
    let alike = packages.filter_map(|(run, id)| {
        let package = swarm.packages.get(id)?;
        let fits = package.strict_key == made.key && !package.state.is_final() && drone.builds(run, package);
        fits.then_some((*id, package.state))
    });
    alike.max_by_key(|(_, state)| *state == PackageState::Needed)
}
