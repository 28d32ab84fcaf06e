//! Attempts that drones began before the journal was restored. The journal does not know them, but a drone
//! reports what each is made from.
//!
//! | what the journal knows | what happens to the attempt |
//! |---|---|
//! | a run needs the package | taken back, as if the drone had just claimed it |
//! | the package was received | discarded |
//! | a plan is being made | kept by the drone until the plan is there |
//! | its run was cancelled after the restore | discarded |
//! | a profile has had no plan since the restore | kept by the drone until it has one |
//! | none of these, or the restore was too long ago | discarded |
//!
//! An attempt that is taken back gets new build ids, so that files published with the old ones are not
//! replaced.

use crate::{
    assign::{MOST_DUPLICATES, next_build_ids},
    decision::was_restored,
    event::Event,
    refusal::Refusal,
    state::{Drone, Job, Swarm},
};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{
    digest::Digest,
    id::*,
    name::Name,
    state::*,
    time::TimeMs,
    wire::drone::{AttemptStatus, MadeFrom},
};

/// Decides on the unknown attempts of one heartbeat.
#[derive(Debug)]
pub(super) struct Unknown<'s> {
    swarm: &'s Swarm,
    id: DroneId,
    drone: &'s Drone,
    /// Whether it has just been found that the journal was rolled back.
    just_found: bool,
    /// The packages of kept runs by strict key: all under one key are made from the same inputs.
    alike: BTreeMap<Digest, Vec<PackageId>>,
    taken: BTreeSet<PackageId>,
}

impl<'s> Unknown<'s> {
    pub(super) fn new(
        swarm: &'s Swarm,
        now: TimeMs,
        (id, drone): (DroneId, &'s Drone),
        reported: &[AttemptStatus],
        just_found: bool,
    ) -> Self {
        let unknown = reported.iter().filter(|status| !swarm.attempts.contains_key(&status.attempt));
        let made = unknown.filter_map(|status| status.made_from).filter(|_| was_restored(swarm, now));
        let mut alike: BTreeMap<Digest, Vec<PackageId>> = made.map(|made| (made.key, Vec::new())).collect();
        if !alike.is_empty() {
            for (&id, package) in &swarm.packages {
                if let Some(packages) = alike.get_mut(&package.strict_key) {
                    packages.push(id);
                }
            }
        }
        Self { swarm, id, drone, just_found, alike, taken: BTreeSet::new() }
    }

    /// Decides on an attempt that the journal does not know. Returns the events that take it back, or none if
    /// the drone is to keep it for now.
    ///
    /// # Errors
    /// The drone must discard the attempt: no run needs it, nor will the next one.
    pub(super) fn attempt(&mut self, status: &AttemptStatus) -> Result<Vec<Event>, Refusal> {
        let (swarm, attempt) = (self.swarm, status.attempt);
        if self.just_found {
            return Ok(Vec::new());
        }
        let alike = status.made_from.and_then(|made| Some((made, self.alike.get(&made.key)?)));
        let (made, alike) = alike.ok_or(Refusal::UnknownAttempt(attempt))?;
        let needed = match self.drone.state_when_heard() {
            DroneState::Pending => return Ok(Vec::new()),
            DroneState::Grounded => None,
            _ => self.need(made, alike),
        };
        let Some((package, state)) = needed else {
            return if self.may_be_planned(alike) {
                Ok(Vec::new())
            } else {
                Err(Refusal::UnknownAttempt(attempt))
            };
        };
        let mut live = swarm.attempts_at(Job::Build(package));
        let duplicate_of = match state {
            PackageState::Needed => None,
            // A finished result comes sooner than one that is still being built.
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
        // Higher ids will be assigned again.
        let is_past = attempt.0 <= swarm.last.attempt;
        if !is_past || !self.taken.insert(package) {
            return Ok(Vec::new());
        }
        let mut events = vec![Event::PackageDelegated {
            package,
            attempt,
            drone: self.id,
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

    /// The package that the drone's attempt can deliver, and its state; preferably one that is needed now.
    /// `None` if no run waits for one.
    fn need(&self, made: MadeFrom, alike: &[PackageId]) -> Option<(PackageId, PackageState)> {
        let open = alike.iter().filter_map(|id| {
            let package = self.swarm.packages.get(id)?;
            let run = self.swarm.runs.get(&package.run)?;
            let waits = !run.state.is_over() && !package.state.is_final();
            let fits = run.base.digest() == made.base && self.drone.builds(run, package);
            (waits && fits).then_some((*id, package.state))
        });
        open.max_by_key(|(_, state)| *state == PackageState::Needed)
    }

    /// Whether a future plan may need a package that no run needs now.
    fn may_be_planned(&self, alike: &[PackageId]) -> bool {
        let swarm = self.swarm;
        let since_restore = |at: TimeMs| swarm.restored_at.is_some_and(|restored| at >= restored);
        let packages = || alike.iter().filter_map(|id| swarm.packages.get(id));
        if packages().any(|package| package.state == PackageState::Received) {
            return false;
        }
        if swarm.runs.values().any(|run| run.state == RunState::Planning && self.drone.builds_for(run)) {
            return true;
        }
        let cancelled = packages().filter(|package| package.state == PackageState::Cancelled);
        let mut cancelled = cancelled.filter_map(|package| swarm.runs.get(&package.run)?.ended_at);
        if cancelled.any(since_restore) {
            return false;
        }
        let has_plan = |profile: &Name| {
            let mut runs = swarm.runs.values().filter(|run| run.profile == *profile);
            runs.any(|run| since_restore(run.started_at) && !run.packages.is_empty())
        };
        swarm.profiles.keys().any(|profile| self.drone.accepts(profile) && !has_plan(profile))
    }
}
