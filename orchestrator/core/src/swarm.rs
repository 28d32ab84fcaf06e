//! The state of everything. Only [`Swarm::apply`] changes it, and only events do that.

use crate::{
    attempt::{Attempt, Job},
    base::NamedBase,
    calendar::{Pause, Schedule},
    collision::Collisions,
    command::Reply,
    drone::{Drone, Removed},
    estimate::{self, History, SETUP_MS, UPLOAD_MS},
    heal::Act,
    keys::{Fields, Inputs},
    package::Package,
    policy::Policy,
    profile::Profile,
    quarantine::Quarantine,
    run::Run,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{
    cpv::Cpv,
    digest::Digest,
    id::*,
    name::Name,
    state::DroneState,
    time::TimeMs,
    wire::{
        artifact::Artifact,
        drone::{Stuck, Target, Vitals},
    },
};

/// The state of everything. All maps are ordered, so that walking them is the same
/// every time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Swarm {
    /// Configuration; not part of what the journal keeps.
    #[serde(skip)]
    pub policy: Policy,
    /// What heartbeats say. Lost at a restart, and rebuilt from the next ones.
    #[serde(skip)]
    pub live: Live,
    /// Number of the last durable event.
    pub seq: u64,
    /// Its time.
    pub at: TimeMs,
    /// The last id handed out of each kind.
    pub last: LastIds,
    /// Build ids up to this one may have been given out without the journal knowing of it.
    #[serde(default)]
    pub build_ids_skipped: u32,
    /// What was built, by build key, for all profiles to use again.
    pub built: BTreeMap<Digest, Built>,
    /// What keys were computed from, by strict key.
    pub inputs: BTreeMap<Digest, Inputs>,
    /// The settings of plans, by digest.
    pub settings: BTreeMap<Digest, Fields>,
    /// Build keys that count as unknown, because somebody wants the packages built anew.
    pub rebuilds: BTreeMap<Digest, Wanted>,
    /// Enrolment tokens that are valid, by digest.
    pub tokens: BTreeMap<Digest, EnrolToken>,
    /// Enrolled drones.
    pub drones: BTreeMap<DroneId, Drone>,
    /// Drones that an admin removed.
    #[serde(default)]
    pub removed: Removed,
    /// Live attempts of each drone.
    pub at_work: BTreeMap<DroneId, BTreeSet<AttemptId>>,
    /// What profiles build in.
    #[serde(default)]
    pub bases: BTreeMap<Name, NamedBase>,
    /// Profiles.
    pub profiles: BTreeMap<Name, Profile>,
    /// When runs of a profile start by themselves.
    #[serde(default)]
    pub schedules: BTreeMap<Name, Schedule>,
    /// Until when nothing is handed out.
    #[serde(default)]
    pub pause: Option<Pause>,
    /// Runs that are kept.
    pub runs: BTreeMap<RunId, Run>,
    /// Packages of those runs.
    pub packages: BTreeMap<PackageId, Package>,
    /// What is known to be broken, across runs.
    #[serde(default)]
    pub quarantine: Quarantine,
    /// Stored packages that install the same paths.
    #[serde(default)]
    pub collisions: Collisions,
    /// Attempts at their plans and packages. Boxed: a map that grows at its end is half empty.
    pub attempts: BTreeMap<AttemptId, Box<Attempt>>,
    /// First answers to commands with an idempotency key, with the event's number.
    pub answers: BTreeMap<String, (u64, Reply)>,
    /// When each version was last received. A snapshot from before there was this is
    /// replayed over.
    pub received_at: BTreeMap<Cpv, TimeMs>,
    /// What past attempts took.
    pub history: History,
    /// What healing did to machines within the last day, oldest first.
    #[serde(default)]
    pub acts: Vec<Act>,
}

/// The last id handed out of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct LastIds {
    pub run: u64,
    pub package: u64,
    pub attempt: u64,
    pub drone: u64,
}

/// What was built under a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Built {
    /// When it was received.
    pub at: TimeMs,
    /// The files, in the order of the targets.
    pub artifacts: Vec<Artifact>,
}

/// A rebuild that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The last package that was planned before it was asked for.
    pub after: PackageId,
    /// Why, in the words of who asked; may be empty.
    pub reason: String,
}

/// A one-time enrolment token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolToken {
    /// It ends.
    pub expires_at: TimeMs,
    /// Whoever uses it is approved.
    pub approved: bool,
}

/// What only this process's heartbeats told.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Live {
    /// When the orchestrator started.
    pub started_at: TimeMs,
    /// When each drone was last heard.
    pub seen: BTreeMap<DroneId, TimeMs>,
    /// How each drone's machine is.
    pub vitals: BTreeMap<DroneId, Vitals>,
    /// What drones have done that does not get through to the orchestrator.
    pub stuck: BTreeMap<DroneId, BTreeMap<AttemptId, Stuck>>,
    /// Drones that were told on their own machine to take no further work.
    pub draining: BTreeSet<DroneId>,
    /// Drones whose credential another machine used, when that was refused last, and how it
    /// is known.
    pub cloned: BTreeMap<DroneId, (TimeMs, String)>,
    /// Since when each drone could work, if that is later than the start.
    pub ready_since: BTreeMap<DroneId, TimeMs>,
    /// Until when each live attempt may go on.
    pub leases: BTreeMap<AttemptId, TimeMs>,
    /// Drones that wait for work, and until when they do.
    pub waiting: BTreeMap<DroneId, TimeMs>,
    /// Drones that have just ended something, and until when they will have asked for more.
    pub due_back: BTreeMap<DroneId, TimeMs>,
}

impl Swarm {
    /// An empty swarm.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// Where a drone stands, by what the admin and what its own machine wants.
    #[must_use]
    pub fn state_of(&self, id: DroneId, drone: &Drone) -> DroneState {
        match drone.state() {
            DroneState::Online if self.live.draining.contains(&id) => DroneState::Draining,
            state => state,
        }
    }

    /// Live attempts of a drone.
    pub fn attempts_of(&self, drone: DroneId) -> impl Iterator<Item = (AttemptId, &Attempt)> {
        let ids = self.at_work.get(&drone).into_iter().flatten();
        ids.filter_map(|id| Some((*id, &**self.attempts.get(id)?)))
    }

    /// How many builds a drone has under way.
    #[must_use]
    pub fn builds_on(&self, drone: DroneId) -> usize {
        self.attempts_of(drone).filter(|(_, attempt)| attempt.is_building()).count()
    }

    /// What builds beside it have cost an attempt up to now.
    #[must_use]
    pub fn lost_ms(&self, attempt: &Attempt, now: TimeMs) -> u64 {
        let since = self.drones.get(&attempt.drone).map_or(now, |d| d.shared_since.max(attempt.started_at));
        let open_ms = if attempt.is_building() { now.since(since) } else { 0 };
        attempt.lost_ms + estimate::lost_ms(open_ms, self.builds_on(attempt.drone))
    }

    /// Live attempts at a job.
    pub fn attempts_at(&self, job: Job) -> impl Iterator<Item = (AttemptId, &Attempt)> {
        let ids = match job {
            Job::Plan(run) => self.runs.get(&run).map(|r| &r.plan_attempts),
            Job::Build(package) => self.packages.get(&package).map(|p| &p.attempts),
            Job::Base(run) => self.runs.get(&run).map(|r| &r.base_attempts),
        };
        ids.into_iter()
            .flatten()
            .filter_map(|id| Some((*id, &**self.attempts.get(id)?)))
            .filter(|(_, attempt)| attempt.is_live())
    }

    /// What setting up and sending cost on a usual drone, in milliseconds.
    #[must_use]
    pub fn overhead_ms(&self) -> u64 {
        let mut costs: Vec<u64> = self.drones.values().map(|d| d.setup_ms + d.upload_ms).collect();
        costs.sort_unstable();
        costs.get(costs.len() / 2).copied().unwrap_or(SETUP_MS + UPLOAD_MS)
    }

    /// The run of a profile that is under way.
    #[must_use]
    pub fn active_run(&self, profile: &Name) -> Option<RunId> {
        self.runs.iter().find(|(_, r)| r.profile == *profile && !r.state.is_over()).map(|(id, _)| *id)
    }

    /// The BUILD_TIME of what is received of `targets` now, in whole seconds: later than that
    /// of everything received of these versions before, as workstations tell a rebuild by it.
    #[must_use]
    pub fn next_build_time(&self, targets: &[Target], now: TimeMs) -> TimeMs {
        let before = targets.iter().filter_map(|target| self.received_at.get(&target.cpv)).max();
        let seconds = before.map_or(0, |before| before.as_secs() + 1);
        TimeMs(now.as_secs().max(seconds) * 1000)
    }

    /// Until when nobody is judged silent, because the orchestrator has just started.
    #[must_use]
    pub fn grace_until(&self) -> TimeMs {
        self.live.started_at + self.policy.startup_grace_ms
    }
}
