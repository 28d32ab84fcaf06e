//! The state of the whole swarm. Only [`Swarm::apply`] changes it, and only in response to events.

use super::{
    attempt::{Attempt, Job},
    base::{Following, NamedBase},
    build::Builds,
    calendar::{Pause, Schedule},
    collision::Collisions,
    drone::{Drone, Removed},
    healing::HealAction,
    inputs::{Fields, Inputs},
    live::Live,
    package::Package,
    past::PastAttempts,
    profile::Profile,
    quarantine::Quarantine,
    run::Run,
};
use crate::{
    estimate::{self, History, SETUP_MS, UPLOAD_MS},
    policy::Policy,
    reason::{self, Reason},
    reply::Reply,
    shared::Shared,
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
    wire::{artifact::Artifact, drone::Target},
};

/// The state of the whole swarm. All maps are ordered, so that iteration is deterministic.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Swarm {
    /// Configuration; not written to the journal.
    #[serde(skip)]
    pub policy: Policy,
    /// What heartbeats reported. Lost at a restart and rebuilt from the next heartbeats.
    #[serde(skip)]
    pub live: Live,
    /// Number of the last durable event.
    pub seq: u64,
    /// Time of the last durable event.
    pub at: TimeMs,
    /// The last id assigned of each kind.
    pub last: LastIds,
    /// Build ids up to this one may have been assigned without a record in the journal (see
    /// [`Event::IdsSkipped`](crate::Event::IdsSkipped)).
    #[serde(default)]
    pub build_ids_skipped: u32,
    /// When ids were last skipped, because the journal had been restored or rolled back.
    #[serde(default)]
    pub restored_at: Option<TimeMs>,
    /// Results of builds by build key, shared by all profiles.
    pub built: BTreeMap<Digest, Built>,
    /// The inputs that keys were computed from, by strict key.
    pub inputs: BTreeMap<Digest, Shared<Inputs>>,
    /// Settings of plans, by digest.
    pub settings: BTreeMap<Digest, Fields>,
    /// Build keys whose packages are to be rebuilt; the results in `built` are not reused.
    pub rebuilds: BTreeMap<Digest, RequestedRebuild>,
    /// Valid enrolment tokens, by digest.
    pub tokens: BTreeMap<Digest, EnrolToken>,
    pub drones: BTreeMap<DroneId, Drone>,
    /// Drones that an admin has removed.
    #[serde(default)]
    pub removed: Removed,
    /// Live attempts of each drone.
    pub at_work: BTreeMap<DroneId, BTreeSet<AttemptId>>,
    /// The root file systems that profiles build in.
    #[serde(default)]
    pub bases: BTreeMap<Name, NamedBase>,
    /// Profiles, by name.
    pub profiles: BTreeMap<Name, Profile>,
    /// When runs start automatically, by profile.
    #[serde(default)]
    pub schedules: BTreeMap<Name, Schedule>,
    /// The current pause: no work is assigned until it ends.
    #[serde(default)]
    pub pause: Option<Pause>,
    /// Runs that have not been forgotten.
    pub runs: BTreeMap<RunId, Run>,
    /// Packages of the kept runs.
    pub packages: BTreeMap<PackageId, Shared<Package>>,
    /// Packages known to be broken, across runs.
    #[serde(default)]
    pub quarantine: Quarantine,
    /// Pairs of stored packages that cannot be installed together.
    #[serde(default)]
    pub collisions: Collisions,
    /// Attempts at the plans, bases and packages of the kept runs.
    pub attempts: BTreeMap<AttemptId, Shared<Attempt>>,
    /// Builds of forgotten runs that still have a kept artifact.
    #[serde(default)]
    pub builds: Builds,
    /// Attempts at packages of forgotten runs.
    #[serde(default)]
    pub past: PastAttempts,
    /// The first answer to each command with an idempotency key, and the number of its event.
    #[serde(with = "crate::record")]
    pub answers: BTreeMap<String, (u64, Reply)>,
    /// When each version was last received. Not optional: a checkpoint without this field is not used, and
    /// the events are replayed instead.
    pub received_at: BTreeMap<Cpv, TimeMs>,
    /// Durations measured in past attempts.
    pub history: History,
    /// Steps that healing took on machines during the last day, oldest first.
    #[serde(default)]
    pub acts: Vec<HealAction>,
}

/// The last id assigned of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LastIds {
    pub run: u64,
    pub package: u64,
    pub attempt: u64,
    pub drone: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Built {
    pub at: TimeMs,
    /// The files, in the order of the package's targets.
    #[serde(with = "crate::record")]
    pub artifacts: Shared<Vec<Artifact>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestedRebuild {
    /// The last package planned before the request. A build of a later one fulfils it.
    pub after: PackageId,
    /// The reason given by the requester, if any.
    #[serde(with = "reason::optional")]
    pub reason: Option<Reason>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolToken {
    pub expires_at: TimeMs,
    /// Whether a drone that enrols with it is approved at once.
    pub approved: bool,
}

impl Swarm {
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// The state of a drone, including draining that was requested on its own machine.
    #[must_use]
    pub fn state_of(&self, id: DroneId, drone: &Drone) -> DroneState {
        match drone.state() {
            DroneState::Online if self.live.draining.contains(&id) => DroneState::Draining,
            state => state,
        }
    }

    pub fn attempts_of(&self, drone: DroneId) -> impl Iterator<Item = (AttemptId, &Attempt)> {
        let ids = self.at_work.get(&drone).into_iter().flatten();
        ids.filter_map(|id| Some((*id, &**self.attempts.get(id)?)))
    }

    /// The number of builds running on a drone.
    #[must_use]
    pub fn builds_on(&self, drone: DroneId) -> usize {
        self.attempts_of(drone).filter(|(_, attempt)| attempt.is_building()).count()
    }

    /// Milliseconds that an attempt has lost to other builds on its drone so far.
    #[must_use]
    pub fn lost_ms(&self, attempt: &Attempt, now: TimeMs) -> u64 {
        let since = self.drones.get(&attempt.drone).map_or(now, |d| d.shared_since.max(attempt.started_at));
        let open_ms = if attempt.is_building() { now.since(since) } else { 0 };
        attempt.lost_ms + estimate::lost_ms(open_ms, self.builds_on(attempt.drone))
    }

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

    /// Setup and upload time on a typical drone (the median), in milliseconds.
    #[must_use]
    pub fn overhead_ms(&self) -> u64 {
        let mut costs: Vec<u64> = self.drones.values().map(|d| d.setup_ms + d.upload_ms).collect();
        costs.sort_unstable();
        costs.get(costs.len() / 2).copied().unwrap_or(SETUP_MS + UPLOAD_MS)
    }

    #[must_use]
    pub fn active_run(&self, profile: &Name) -> Option<RunId> {
        self.runs.iter().find(|(_, r)| r.profile == *profile && !r.state.is_over()).map(|(id, _)| *id)
    }

    /// The profiles that build in a base.
    pub(crate) fn users_of<'s>(&'s self, base: &'s Name) -> impl Iterator<Item = &'s Name> {
        self.profiles.iter().filter(move |(_, p)| p.request.base.as_ref() == Some(base)).map(|(name, _)| name)
    }

    /// The base that is to follow a run, and the wanted generation.
    #[must_use]
    pub fn following(&self, run: RunId) -> Option<(&Name, &NamedBase, &Following)> {
        let mut all =
            self.bases.iter().filter_map(|(name, base)| Some((name, base, base.following.as_ref()?)));
        all.find(|(.., following)| following.run == run)
    }

    /// The BUILD_TIME for `targets` received now, in whole seconds. It is later than that of any earlier
    /// build of these versions, because workstations recognise a rebuild by it.
    #[must_use]
    pub fn next_build_time(&self, targets: &[Target], now: TimeMs) -> TimeMs {
        let versions = targets.iter().filter_map(Target::portage).map(|target| &target.cpv);
        let before = versions.filter_map(|cpv| self.received_at.get(cpv)).max();
        let seconds = before.map_or(0, |before| before.as_secs() + 1);
        TimeMs(now.as_secs().max(seconds) * 1000)
    }

    /// The end of the grace time after a start, until which no drone is considered silent.
    #[must_use]
    pub fn grace_until(&self) -> TimeMs {
        self.live.started_at + self.policy.startup_grace_ms
    }
}
