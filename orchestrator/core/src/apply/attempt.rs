//! Attempts begin, end and come back.

use crate::{
    attempt::{Attempt, Ending, Job},
    estimate::learn_speed,
    package::Step,
    swarm::Swarm,
};
use std::collections::BTreeMap;
use swarm_common::{
    id::*,
    state::*,
    time::TimeMs,
    wire::drone::{Target, Usage},
};

impl Swarm {
    pub(super) fn delegate(
        &mut self,
        at: TimeMs,
        id: AttemptId,
        job: Job,
        drone: DroneId,
        key: &str,
        build_ids: Vec<u32>,
    ) {
        let Some(name) = self.drones.get(&drone).map(|d| d.name.clone()) else { return };
        self.last.attempt = id.0;
        self.at_work.entry(drone).or_default().insert(id);
        self.live.leases.insert(id, at + self.policy.lease_ms);
        self.live.waiting.remove(&drone);
        self.attempts.insert(
            id,
            Attempt {
                job,
                drone,
                drone_name: name,
                key: key.to_owned(),
                build_ids,
                started_at: at,
                ended_at: None,
                phases: BTreeMap::from([(Phase::Assigned, at)]),
                ending: None,
                usage: None,
            },
        );
    }

    pub(super) fn end(&mut self, at: TimeMs, id: AttemptId, ending: Ending, usage: Option<Usage>) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        // A lost attempt may still fail by report, or be accepted.
        let (was, is) = (attempt.has_failed(), ending.is_failure());
        attempt.ending = Some(ending);
        attempt.ended_at = Some(at);
        attempt.usage = usage.or(attempt.usage);
        self.live.leases.remove(&id);
        if let Some(live) = self.at_work.get_mut(&attempt.drone) {
            live.remove(&id);
        }
        if let Job::Build(package) = attempt.job
            && let Some(run) = self.packages.get(&package).and_then(|p| self.runs.get_mut(&p.run))
        {
            run.failures = run.failures + u64::from(is) - u64::from(was && run.failures > 0);
        }
    }

    pub(super) fn supersede(&mut self, at: TimeMs, job: Job) {
        let others: Vec<AttemptId> = self.attempts_at(job).map(|(id, _)| id).collect();
        for other in others {
            self.end(at, other, Ending::Superseded, None);
        }
    }

    pub(super) fn revive(&mut self, at: TimeMs, id: AttemptId) {
        let Some(attempt) = self.attempts.get(&id) else { return };
        let (drone, job, had_failed) = (attempt.drone, attempt.job, attempt.has_failed());
        if let Job::Build(package) = job
            && !self.step(package, Step::Delegate)
        {
            return;
        }
        if let Some(attempt) = self.attempts.get_mut(&id) {
            (attempt.ending, attempt.ended_at) = (None, None);
        }
        if let Job::Build(package) = job
            && let Some(run) = self.packages.get(&package).and_then(|p| self.runs.get_mut(&p.run))
        {
            run.failures = run.failures.saturating_sub(u64::from(had_failed));
        }
        self.at_work.entry(drone).or_default().insert(id);
        self.live.leases.insert(id, at + self.policy.lease_ms);
    }

    pub(super) fn note_build_ids(&mut self, id: PackageId, build_ids: &[u32]) {
        let Some(package) = self.packages.get(&id) else { return };
        let Some(run) = self.runs.get(&package.run) else { return };
        let Some(profile) = self.profiles.get_mut(&run.profile) else { return };
        for (target, &build_id) in package.targets.iter().zip(build_ids) {
            profile.build_ids.insert(target.cpv.clone(), build_id);
        }
    }

    /// What a success teaches: the package's work, the drone's speed, and that the drone
    /// is in order.
    pub(super) fn learn(&mut self, at: TimeMs, id: PackageId, attempt: AttemptId, usage: Usage) {
        let (Some(package), Some(attempt)) = (self.packages.get(&id), self.attempts.get(&attempt)) else {
            return;
        };
        let Some(drone) = self.drones.get_mut(&attempt.drone) else { return };
        // A drone may claim any figure; it cannot have taken longer than it had.
        let took_ms = usage.wall_ms.min(at.since(attempt.started_at)).max(1);
        let name = history_name(&package.targets);
        if let Some(known) = self.history.predict(&name) {
            drone.speed_permille = learn_speed(drone.speed_permille, known, took_ms);
        }
        self.history.note(&name, took_ms.saturating_mul(drone.speed_permille) / 1000);
        drone.strikes.clear();
        (drone.groundings, drone.succeeded_at) = (0, at);
    }
}

/// The name under which a package's work is remembered: without versions.
pub(super) fn history_name(targets: &[Target]) -> String {
    let names: Vec<_> = targets.iter().map(|t| t.cpv.cp()).collect();
    names.join("+")
}
