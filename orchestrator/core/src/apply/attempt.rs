//! Applies the beginning and the end of attempts.

use crate::{
    estimate::{Evidence, lost_ms, smooth},
    package::Step,
    state::{Attempt, Ending, Job, Run, Swarm},
};
use std::{cmp::Reverse, collections::BTreeMap};
use swarm_common::{
    id::*,
    state::*,
    time::TimeMs,
    wire::drone::{Target, Usage},
};

/// How soon a drone claims again after it has delivered a result, in milliseconds.
const ASKS_AT_ONCE_MS: u64 = 2_000;

/// How soon a drone claims again after its attempt was superseded or cancelled, in milliseconds. The
/// drone learns of it from the answer to its next heartbeat.
const ASKS_WHEN_TOLD_MS: u64 = 12_000;

/// Limit of the slowdown ascribed to neighbours: at least 1/16 of a build's time counts as its own.
const MOST_STRETCH: u64 = 16;

impl Swarm {
    /// Begins attempt `id` and returns its record, so that the caller can fill in what only builds
    /// have.
    pub(super) fn delegate(
        &mut self,
        at: TimeMs,
        id: AttemptId,
        job: Job,
        drone: DroneId,
        key: &str,
    ) -> Option<&mut Attempt> {
        let name = self.drones.get(&drone)?.name.clone();
        self.last.attempt = id.0;
        self.share(at, drone);
        self.at_work.entry(drone).or_default().insert(id);
        self.live.leases.insert(id, at + self.policy.lease_ms);
        self.forget_wait(drone);
        let attempt = Attempt {
            job,
            drone,
            drone_name: name,
            key: key.to_owned(),
            duplicate_of: None,
            build_ids: Vec::new(),
            started_at: at,
            ended_at: None,
            phases: BTreeMap::from([(Phase::Assigned, at)]),
            ending: None,
            usage: None,
            returned: false,
            lost_ms: 0,
        };
        self.attempts.insert(id, attempt.into());
        // The drone will soon claim work for its other slots.
        if self.drones.get(&drone).is_some_and(|d| self.builds_on(drone) < d.slots()) {
            self.live.due_back.insert(drone, at + ASKS_AT_ONCE_MS);
        }
        self.attempts.get_mut(&id).map(|attempt| &mut **attempt)
    }

    pub(super) fn end(&mut self, at: TimeMs, id: AttemptId, ending: Ending, usage: Option<Usage>) {
        self.note_sharing(at, id);
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        // A lost attempt may still report a failure or be accepted.
        let (was, is) = (attempt.has_failed(), ending.is_failure());
        attempt.ending = Some(ending);
        attempt.ended_at = Some(at);
        attempt.usage = usage.or(attempt.usage);
        self.live.leases.remove(&id);
        // The drone will claim again. Until then other drones must not take work that it would finish sooner.
        let asks_within_ms = match &attempt.ending {
            Some(Ending::Accepted | Ending::Failed(_) | Ending::Rejected(_)) => ASKS_AT_ONCE_MS,
            Some(Ending::Superseded | Ending::Cancelled) => ASKS_WHEN_TOLD_MS,
            Some(Ending::Lost(_) | Ending::HandedBack(_)) | None => 0,
        };
        if asks_within_ms > 0 {
            self.live.due_back.insert(attempt.drone, at + asks_within_ms);
        }
        if let Some(live) = self.at_work.get_mut(&attempt.drone) {
            live.remove(&id);
        }
        if let Job::Build(package) = attempt.job
            && let Some(run) = self.counts_against(id, package)
        {
            run.failures = (run.failures + u64::from(is)).saturating_sub(u64::from(was));
        }
    }

    /// The run that counts the failure of an attempt at a package. `None` if an admin has forgiven the attempt.
    fn counts_against(&mut self, id: AttemptId, package: PackageId) -> Option<&mut Run> {
        let package = self.packages.get(&package)?;
        let counts = package.attempts.iter().skip(package.forgiven).any(|attempt| *attempt == id);
        self.runs.get_mut(&package.run).filter(|_| counts)
    }

    /// Settles the cost of sharing before the number of builds on an attempt's drone changes.
    pub(super) fn note_sharing(&mut self, at: TimeMs, id: AttemptId) {
        if let Some(drone) = self.attempts.get(&id).filter(|a| a.is_building()).map(|a| a.drone) {
            self.share(at, drone);
        }
    }

    /// Records the time that builds on a drone have cost each other since their number last
    /// changed.
    fn share(&mut self, at: TimeMs, drone: DroneId) {
        let building: Vec<AttemptId> =
            self.attempts_of(drone).filter(|(_, a)| a.is_building()).map(|(id, _)| id).collect();
        let Some(record) = self.drones.get_mut(&drone) else { return };
        let since = std::mem::replace(&mut record.shared_since, at);
        for id in &building {
            if let Some(attempt) = self.attempts.get_mut(id) {
                attempt.lost_ms += lost_ms(at.since(since.max(attempt.started_at)), building.len());
            }
        }
    }

    /// Removes a drone from those that are waiting for work or soon will be.
    pub(super) fn forget_wait(&mut self, drone: DroneId) {
        self.live.waiting.remove(&drone);
        self.live.due_back.remove(&drone);
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
        self.share(at, drone);
        if let Some(attempt) = self.attempts.get_mut(&id) {
            (attempt.ending, attempt.ended_at) = (None, None);
        }
        if let Job::Build(package) = job
            && let Some(run) = self.counts_against(id, package)
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
        let targets = package.targets.iter().filter_map(Target::portage);
        for (target, &build_id) in targets.zip(build_ids) {
            profile.build_ids.insert(target.cpv.clone(), build_id);
        }
    }

    /// Updates the estimates after a success: the package's work, and the drone's speed and overheads. Also
    /// records that the drone works.
    pub(super) fn learn(&mut self, at: TimeMs, id: PackageId, attempt: AttemptId, usage: Usage) {
        let lost_ms = self.attempts.get(&attempt).map_or(0, |attempt| self.lost_ms(attempt, at));
        let (Some(package), Some(attempt)) = (self.packages.get_mut(&id), self.attempts.get(&attempt)) else {
            return;
        };
        let Some(drone) = self.drones.get_mut(&attempt.drone) else { return };
        drone.strikes.clear();
        (drone.groundings, drone.succeeded_at) = (0, at);
        // The start of a returned attempt is unknown.
        if attempt.returned {
            return;
        }
        // A drone may report any duration, but it cannot exceed the time since the attempt started.
        let took_ms = usage.wall_ms.min(at.since(attempt.started_at));
        if let Some(&builds) = attempt.phases.get(&Phase::Building) {
            drone.setup_ms = smooth(drone.setup_ms, builds.since(attempt.started_at).min(took_ms));
        }
        drone.upload_ms = smooth(drone.upload_ms, at.since(attempt.started_at + took_ms));
        // The time the build would have taken alone on the drone.
        let built_ms = took_ms.saturating_sub(drone.setup_ms);
        let built_ms = built_ms.saturating_sub(lost_ms).max(built_ms / MOST_STRETCH).max(1);
        let evidence = if package.guessed { Evidence::Guess } else { Evidence::History };
        drone.learn_speed(evidence, package.predicted_ms, built_ms);
        let work_ms = (built_ms.saturating_mul(drone.speed_permille) / 1000).max(1);
        let (name, version) = history_name(&package.targets);
        self.history.guess.note(&name, package.build_deps.len(), work_ms);
        self.history.note(&name, &version, work_ms, (usage.peak_memory_bytes, drone.facts.cores));
        // A late result may belong to a package that is to be built again.
        if let Some(run) = self.runs.get_mut(&package.run)
            && run.open.contains(&(Reverse(package.rank_ms), id))
        {
            run.open_ms = (run.open_ms + work_ms).saturating_sub(package.predicted_ms);
        }
        (package.predicted_ms, package.guessed) = (work_ms, false);
    }

    /// Updates the estimates of drones that are still building a package that another drone has delivered:
    /// the same work takes them longer than predicted.
    pub(super) fn learn_of_rivals(&mut self, at: TimeMs, id: PackageId) {
        let Some(work_ms) = self.packages.get(&id).map(|p| p.predicted_ms) else { return };
        let took = |a: &Attempt| at.since(a.started_at).saturating_sub(self.lost_ms(a, at));
        let rivals: Vec<(DroneId, u64)> =
            self.attempts_at(Job::Build(id)).map(|(_, a)| (a.drone, took(a))).collect();
        for (drone, elapsed) in rivals {
            let Some(drone) = self.drones.get_mut(&drone) else { continue };
            let took_ms = elapsed.saturating_sub(drone.setup_ms);
            if took_ms > drone.duration_ms(work_ms) {
                drone.learn_speed(Evidence::Rival, work_ms, took_ms);
            }
        }
    }
}

/// The name under which a package's work is remembered (without versions), and the versions.
pub(super) fn history_name(targets: &[Target]) -> (String, String) {
    let names: Vec<_> = targets.iter().map(Target::family).collect();
    let versions: Vec<_> = targets.iter().map(Target::version).collect();
    (names.join("+"), versions.join("+"))
}
