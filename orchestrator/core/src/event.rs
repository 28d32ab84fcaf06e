//! What has happened. Events are facts: they carry everything [`crate::swarm`] needs
//! to apply them and are never refused.
//!
//! Durable events go to the journal. Fleeting ones (`LeasesRenewed`, `DroneSeen`,
//! `DroneWaits`) come with every heartbeat; losing them at a restart costs nothing, as
//! `OrchestratorStarted` gives everybody a grace time anyway.

use crate::{
    calendar::{DueOutcome, Forecast},
    collision::Collision,
    command::Reply,
    swarm::LastIds,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};
use swarm_common::{
    digest::Digest,
    id::*,
    name::Name,
    state::*,
    time::TimeMs,
    wire::{
        admin::ProfileRequest,
        artifact::Artifact,
        base::{Base, BaseGeneration, Dependency},
        calendar::ScheduleRequest,
        drone::*,
        plan::PlanReport,
    },
};

/// An event with its place in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// 1 for the first; without gaps. Fleeting events carry the number of the last
    /// durable one.
    pub seq: u64,
    /// When.
    pub at: TimeMs,
    /// What.
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[allow(missing_docs)] // The fields are those of the commands; the names say the rest.
pub enum Event {
    /// The orchestrator started; leases and silence are counted from here.
    OrchestratorStarted,
    /// Ids up to these, and build ids up to this one, may have been given out after the last
    /// event that a restored journal has.
    IdsSkipped { last: LastIds, build_id: u32 },
    /// The answer to a command with an idempotency key.
    CommandAnswered { key: String, reply: Reply },

    /// A one-time token is valid.
    EnrolTokenIssued { token_hash: Digest, expires_at: TimeMs, approved: bool },
    /// A token ran out unused.
    EnrolTokenExpired { token_hash: Digest },
    /// A machine became a drone; its token is used up.
    DroneEnrolled {
        drone: DroneId,
        name: Name,
        token_hash: Digest,
        credential_hash: Digest,
        facts: DroneFacts,
        approved: bool,
    },
    /// An admin let a pending drone work.
    DroneApproved { drone: DroneId },
    /// The drone gets nothing more.
    DroneDrained { drone: DroneId, reason: String },
    /// A drained, grounded or lost drone may work again; its strikes are forgotten.
    DroneResumed { drone: DroneId },
    /// The drone is forgotten and its credential void.
    DroneRemoved { drone: DroneId },
    /// Silent for too long.
    DroneWentOffline { drone: DroneId, reason: String },
    /// Heard again.
    DroneReturned { drone: DroneId },
    /// Its machine has booted anew.
    DroneRebooted { drone: DroneId, boot_id: String },
    /// Its machine, or what it is configured to do, is another.
    DroneFactsChanged { drone: DroneId, facts: DroneFacts },
    /// A failure counts against it.
    DroneStruck { drone: DroneId, attempt: AttemptId, reason: String },
    /// What was counted against it turned out to be the package's fault.
    StrikesForgiven { drone: DroneId, attempts: Vec<AttemptId>, reason: String },
    /// Too many strikes in a row.
    DroneGrounded { drone: DroneId, until: TimeMs, reason: String },
    /// Its pause is over.
    DroneUngrounded { drone: DroneId },
    /// Healing gave it up: a person has to look.
    DroneLost { drone: DroneId, reason: String },
    /// It has worked long enough since it was heard again: its ladder is forgotten.
    DroneHealed { drone: DroneId },
    /// An admin keeps its machine from reboots, or no longer does.
    DroneProtected { drone: DroneId, protected: bool },
    /// A step of healing begins; nothing was done yet.
    HealStepBegan { drone: DroneId, step: HealStep },
    /// A step of healing ended.
    HealStepEnded { drone: DroneId, step: HealStep, outcome: HealOutcome, detail: String },
    /// Only a reboot is left, and an admin has to confirm it.
    RebootWanted { drone: DroneId, reason: String },
    /// An admin confirmed the reboot of a silent drone's machine.
    RebootConfirmed { drone: DroneId },

    /// A base exists, or has a new generation.
    BasePut { name: Name, generation: Box<BaseGeneration> },
    /// An earlier generation of a base is in use again, and later ones are forgotten.
    BaseRolledBack { name: Name, from: u64, to: u64 },
    /// A base is forgotten.
    BaseRemoved { name: Name },
    /// A base follows the tree, or no longer does.
    BaseFollowSet { name: Name, follow: bool },
    /// What a run built is to be installed on its base; `installed` is all that is there then.
    BaseFollowBegan { name: Name, run: RunId, installed: Vec<Dependency> },
    /// A drone has the next generation of the run's base to make.
    BaseDelegated { run: RunId, attempt: AttemptId, drone: DroneId, key: String },
    /// The run's base is to be tried again.
    BaseNeeded { run: RunId, not_before: TimeMs, reason: String },
    /// A base was made and checked: its next generation is in use.
    BaseReceived { name: Name, attempt: AttemptId, generation: Box<BaseGeneration>, usage: Usage },
    /// A base does not follow: what the run built could not be installed on it.
    BaseFollowEnded { name: Name, reason: String },
    /// A profile exists, or is pinned anew.
    ProfilePut { name: Name, request: ProfileRequest },
    /// A profile is forgotten.
    ProfileRemoved { name: Name },
    /// A new generation is what clients see.
    GenerationPublished { profile: Name, run: RunId, generation: u64, packages: u64 },

    /// Runs of a profile start by themselves, or no more, or at other times.
    SchedulePut { profile: Name, request: ScheduleRequest, forecast: Forecast },
    /// Runs of a profile do not start by themselves any more.
    ScheduleRemoved { profile: Name },
    /// The next due time is another than was thought.
    ScheduleForeseen { profile: Name, forecast: Forecast },
    /// A due time has come, and this became of it. A run that it started began just before.
    DueHandled { profile: Name, due: TimeMs, outcome: DueOutcome, forecast: Forecast },
    /// Nothing is handed out until then.
    PauseBegun { until: TimeMs, reason: String },
    /// Work is handed out again.
    PauseEnded { reason: String },

    /// A run began.
    RunStarted {
        run: RunId,
        profile: Name,
        class: RunClass,
        snapshot: Digest,
        #[serde(default)]
        base: Base,
    },
    /// A drone has the run's plan to make.
    PlanDelegated { run: RunId, attempt: AttemptId, drone: DroneId, key: String },
    /// The run has its plan. The packages get the ids from `first_package` on.
    PlanReceived {
        run: RunId,
        attempt: AttemptId,
        first_package: PackageId,
        #[serde(with = "shared")]
        plan: Arc<PlanReport>,
        usage: Usage,
    },
    /// The plan is to be tried again.
    PlanNeeded { run: RunId, not_before: TimeMs, reason: String },
    /// The run is over.
    RunEnded { run: RunId, state: RunState, reason: String },
    /// Nothing of the run can go on for now: what it has received so far is to be published.
    RunStandsStill { run: RunId, received: u64 },
    /// An admin's retry opened an ended run again.
    RunReopened { run: RunId },
    /// An old run's records are dropped.
    RunForgotten { run: RunId },

    /// Its build key was built before: nothing to do.
    PackageReused { package: PackageId, artifacts: Vec<Artifact> },
    /// A drone has it.
    PackageDelegated {
        package: PackageId,
        attempt: AttemptId,
        drone: DroneId,
        key: String,
        /// The build id for each target.
        build_ids: Vec<u32>,
        /// The late attempt beside which this one is a deliberate second.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duplicate_of: Option<AttemptId>,
    },
    /// It is to be tried again.
    PackageNeeded { package: PackageId, not_before: TimeMs, reason: String },
    /// Verified and stored. Every other attempt at it ends.
    PackageReceived { package: PackageId, attempt: AttemptId, artifacts: Vec<Artifact>, usage: Usage },
    /// Stored packages install the same paths, so only one of each two can be installed.
    CollisionsFound { collisions: Vec<Collision> },
    /// Judged broken or untrustworthy.
    PackageQuarantined {
        package: PackageId,
        reason: String,
        /// Later runs need not try it either until something that it is built from changes.
        #[serde(default)]
        lasting: bool,
    },
    /// Quarantined without a try: an earlier run has judged it, and nothing that it is built
    /// from has changed.
    PackageHeld { package: PackageId, reason: String },
    /// An admin wants it tried again; its failures are forgotten.
    PackageReleased { package: PackageId },
    /// An admin wants the next run to rebuild packages, whether or not their inputs have changed.
    RebuildWanted { packages: Vec<PackageId>, reason: String },

    /// An attempt has reached a phase.
    AttemptPhaseReached { attempt: AttemptId, phase: Phase },
    /// An attempt failed.
    AttemptFailed { attempt: AttemptId, failure: Failure, usage: Usage },
    /// An attempt brought something that was refused.
    AttemptRejected { attempt: AttemptId, reason: String },
    /// A drone gave an attempt back.
    AttemptHandedBack { attempt: AttemptId, reason: String },
    /// Nobody renewed its lease.
    AttemptLost { attempt: AttemptId, reason: String },
    /// Its drone is back, still works on it, and nobody else does.
    AttemptRevived { attempt: AttemptId },

    /// Times go by another clock from now on: those since then were wrong by so many milliseconds.
    ClockSet { since: TimeMs, by_ms: i64 },
    /// Fleeting: the orchestrator heard nobody for so many milliseconds, by its own fault.
    StoodStill { for_ms: u64 },
    /// Fleeting: a drone was heard.
    DroneSeen { drone: DroneId, vitals: Option<Vitals>, draining: bool, stuck: BTreeMap<AttemptId, Stuck> },
    /// Fleeting: attempts may go on until then.
    LeasesRenewed { attempts: Vec<AttemptId>, until: TimeMs },
    /// Fleeting: a drone waits for work until then.
    DroneWaits { drone: DroneId, until: TimeMs },
    /// Another machine used a drone's credential and was refused. Not kept.
    DroneCloned { drone: DroneId, what: String },
}

impl Event {
    /// The attempt that ends with it without a result, if one does.
    #[must_use]
    pub fn ends(&self) -> Option<AttemptId> {
        match self {
            Self::AttemptFailed { attempt, .. }
            | Self::AttemptRejected { attempt, .. }
            | Self::AttemptHandedBack { attempt, .. }
            | Self::AttemptLost { attempt, .. } => Some(*attempt),
            _ => None,
        }
    }

    /// Whether a run's binary package host holds something else after it.
    #[must_use]
    pub fn changes_index(&self) -> bool {
        matches!(
            self,
            Self::RunStarted { .. }
                | Self::RunReopened { .. }
                | Self::PackageReused { .. }
                | Self::PackageReceived { .. }
        )
    }

    /// Whether some binary package host may have to hold something else after it: all but
    /// what only tells of drones, of attempts, and of packages that are not received.
    #[must_use]
    pub fn may_change_hosts(&self) -> bool {
        let only_tells = matches!(
            self,
            Self::PackageDelegated { .. }
                | Self::PackageNeeded { .. }
                | Self::PackageQuarantined { .. }
                | Self::PackageHeld { .. }
                | Self::CollisionsFound { .. }
                | Self::AttemptPhaseReached { .. }
                | Self::AttemptFailed { .. }
                | Self::AttemptHandedBack { .. }
                | Self::DroneReturned { .. }
                | Self::ClockSet { .. }
        );
        self.is_durable() && !only_tells
    }

    /// Whether other drones are known after it, or by other credentials.
    #[must_use]
    pub fn changes_credentials(&self) -> bool {
        matches!(self, Self::DroneEnrolled { .. } | Self::DroneRemoved { .. })
    }

    /// Whether the journal keeps it.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        !matches!(
            self,
            Self::StoodStill { .. }
                | Self::DroneSeen { .. }
                | Self::LeasesRenewed { .. }
                | Self::DroneWaits { .. }
                | Self::DroneCloned { .. }
        )
    }
}

/// A plan is large, so the command that brings it and the event that tells of it share it.
mod shared {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::sync::Arc;

    pub(super) fn serialize<T: Serialize, S: Serializer>(shared: &Arc<T>, to: S) -> Result<S::Ok, S::Error> {
        T::serialize(shared, to)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Arc<T>, D::Error> {
        T::deserialize(from).map(Arc::new)
    }
}
