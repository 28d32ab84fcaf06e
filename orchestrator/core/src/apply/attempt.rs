//! Attempts begin, end and come back.

use crate::{
    attempt::{Attempt, Ending, Job},
    estimate::{Evidence, lost_ms, smooth},
    package::Step,
    swarm::Swarm,
};
use std::{cmp::Reverse, collections::BTreeMap};
use swarm_common::{
    id::*,
    state::*,
    time::TimeMs,
    wire::drone::{Target, Usage},
};

/// How soon a drone that has brought something asks for more.
const ASKS_AT_ONCE_MS: u64 = 2_000;

/// How soon one asks that is to stop, which it hears with its next heartbeat.
const ASKS_WHEN_TOLD_MS: u64 = 12_000;

/// However many neighbours a build has had, it has had this part of its time.
const MOST_STRETCH: u64 = 16;

impl Swarm {
    /// Attempt `id` begins. Gives its record, for what a build has beyond a plan.
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
            lost_ms: 0,
        };
        self.attempts.insert(id, Box::new(attempt));
        // It will soon ask for something for its other slots.
        if self.drones.get(&drone).is_some_and(|d| self.builds_on(drone) < d.slots()) {
            self.live.due_back.insert(drone, at + ASKS_AT_ONCE_MS);
        }
        self.attempts.get_mut(&id).map(Box::as_mut)
    }

    pub(super) fn end(&mut self, at: TimeMs, id: AttemptId, ending: Ending, usage: Option<Usage>) {
        self.note_sharing(at, id);
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        // A lost attempt may still fail by report, or be accepted.
        let (was, is) = (attempt.has_failed(), ending.is_failure());
        attempt.ending = Some(ending);
        attempt.ended_at = Some(at);
        attempt.usage = usage.or(attempt.usage);
        self.live.leases.remove(&id);
        // It will ask for more. The others must not take what it would even then finish sooner.
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
            && let Some(run) = self.packages.get(&package).and_then(|p| self.runs.get_mut(&p.run))
        {
            run.failures = run.failures + u64::from(is) - u64::from(was && run.failures > 0);
        }
    }

    /// The number of builds on the drone of an attempt is about to change.
    pub(super) fn note_sharing(&mut self, at: TimeMs, id: AttemptId) {
        if let Some(drone) = self.attempts.get(&id).filter(|a| a.is_building()).map(|a| a.drone) {
            self.share(at, drone);
        }
    }

    /// Notes what the builds on a drone have cost each other since their number changed last.
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

    /// A drone neither waits for work nor will soon.
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

    /// What a success teaches: the package's work, the drone's speed and costs, and that
    /// the drone is in order.
    pub(super) fn learn(&mut self, at: TimeMs, id: PackageId, attempt: AttemptId, usage: Usage) {
        let lost_ms = self.attempts.get(&attempt).map_or(0, |attempt| self.lost_ms(attempt, at));
        let (Some(package), Some(attempt)) = (self.packages.get_mut(&id), self.attempts.get(&attempt)) else {
            return;
        };
        let Some(drone) = self.drones.get_mut(&attempt.drone) else { return };
        drone.strikes.clear();
        (drone.groundings, drone.succeeded_at) = (0, at);
        // A drone may claim any figure; it cannot have taken longer than it had.
        let took_ms = usage.wall_ms.min(at.since(attempt.started_at));
        if let Some(&builds) = attempt.phases.get(&Phase::Building) {
            drone.setup_ms = smooth(drone.setup_ms, builds.since(attempt.started_at).min(took_ms));
        }
        drone.upload_ms = smooth(drone.upload_ms, at.since(attempt.started_at + took_ms));
        // What it would have taken alone, in so far as it had a share at all.
        let built_ms = took_ms.saturating_sub(drone.setup_ms);
        let built_ms = built_ms.saturating_sub(lost_ms).max(built_ms / MOST_STRETCH).max(1);
        let evidence = if package.guessed { Evidence::Guess } else { Evidence::History };
        drone.learn_speed(evidence, package.predicted_ms, built_ms);
        let work_ms = (built_ms.saturating_mul(drone.speed_permille) / 1000).max(1);
        let (name, version) = history_name(&package.targets);
        self.history.guess.note(&name, package.build_deps.len(), work_ms);
        self.history.note(&name, &version, work_ms, (usage.peak_memory_bytes, drone.facts.cores));
        // A result that comes after all may be of a package that is to be built again.
        if let Some(run) = self.runs.get_mut(&package.run)
            && run.open.contains(&(Reverse(package.rank_ms), id))
        {
            run.open_ms = (run.open_ms + work_ms).saturating_sub(package.predicted_ms);
        }
        (package.predicted_ms, package.guessed) = (work_ms, false);
    }

    /// What a package's result teaches of those who were still at it: the same work has
    /// taken them longer than this.
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

/// The name under which a package's work is remembered, without versions, and the
/// versions.
pub(super) fn history_name(targets: &[Target]) -> (String, String) {
    let names: Vec<_> = targets.iter().map(|t| t.cpv.cp()).collect();
    let versions: Vec<_> = targets.iter().map(|t| t.cpv.version()).collect();
    (names.join("+"), versions.join("+"))
}
