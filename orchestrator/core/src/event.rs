//! What has happened. Events are facts: they carry everything needed to apply them to [`crate::Swarm`] and
//! are never refused.
//!
//! Durable events go to the journal. Transient ones (`LeasesRenewed`, `DroneSeen`, `DroneWaits`)
//! come with every heartbeat; losing them at a restart costs nothing, since `OrchestratorStarted`
//! begins a grace time anyway.
//!
//! Fields of API types are stored as types of [`crate::record`].

mod effects;
mod form;

use crate::{
    reason::{self, Reason},
    refusal::CloneSign,
    reply::Reply,
    shared::Shared,
    state::{Collision, DueOutcome, Forecast, LastIds},
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
        admin::{CandidateRequest, ProfileRequest},
        artifact::Artifact,
        base::{Base, BaseGeneration, Dependency},
        calendar::{ScheduleRequest, TimerRequest},
        channel::ChannelName,
        concern::Offline,
        drone::{DroneFacts, Failure, Rejection, Stuck, Usage, Vitals},
        plan::PlanReport,
    },
};

/// An event with its place in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// 1 for the first event, without gaps. Transient events carry the number of the last durable one.
    pub seq: u64,
    pub at: TimeMs,
    pub event: Event,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", remote = "Self")]
pub enum Event {
    /// The orchestrator started; leases and silence are counted from here.
    OrchestratorStarted,
    /// Ids up to `last` and build ids up to `build_id` may have been assigned after the last event of a
    /// restored journal.
    IdsSkipped { last: LastIds, build_id: u32 },
    /// A drone was assigned the attempt `seen`, but the journal ended at `last`.
    RollbackFound { drone: DroneId, seen: AttemptId, last: AttemptId },
    /// The answer to a command with an idempotency key.
    CommandAnswered {
        key: String,
        #[serde(with = "crate::record")]
        reply: Reply,
    },

    /// A one-time token is valid.
    EnrolTokenIssued { token_hash: Digest, expires_at: TimeMs, approved: bool },
    /// A token expired unused.
    EnrolTokenExpired { token_hash: Digest },
    /// A machine became a drone; its token is used up.
    DroneEnrolled {
        drone: DroneId,
        name: Name,
        token_hash: Digest,
        credential_hash: Digest,
        #[serde(with = "crate::record")]
        facts: DroneFacts,
        approved: bool,
        /// Whether it came without a token, because a restored journal did not know it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        returned: bool,
    },
    /// An admin let a pending drone work.
    DroneApproved { drone: DroneId },
    /// The drone gets no more work.
    DroneDrained { drone: DroneId, reason: Reason },
    /// A drained, grounded or lost drone may work again; its strikes are forgotten.
    DroneResumed { drone: DroneId },
    /// The drone is forgotten and its credential revoked.
    DroneRemoved { drone: DroneId },
    /// The drone was silent for too long, or shut down on purpose. Older versions recorded the sentence
    /// `words`, and the oldest nothing else.
    DroneWentOffline {
        drone: DroneId,
        #[serde(default, rename = "reason", skip_serializing_if = "Option::is_none")]
        words: Option<String>,
        #[serde(default, with = "crate::record")]
        why: Option<Offline>,
    },
    /// The drone was heard again.
    DroneReturned { drone: DroneId },
    /// The drone's machine has rebooted.
    DroneRebooted { drone: DroneId, boot_id: String },
    /// The facts about a drone's machine or its configuration have changed.
    DroneFactsChanged {
        drone: DroneId,
        #[serde(with = "crate::record")]
        facts: DroneFacts,
    },
    /// A failure counts against the drone.
    DroneStruck { drone: DroneId, attempt: AttemptId, reason: Reason },
    /// Failures that counted against the drone turned out to be the package's fault.
    StrikesForgiven { drone: DroneId, attempts: Vec<AttemptId>, reason: Reason },
    /// The drone got too many strikes in a row.
    DroneGrounded { drone: DroneId, until: TimeMs, reason: Reason },
    /// The drone's grounding is over.
    DroneUngrounded { drone: DroneId },
    /// Healing gave the drone up; an admin has to look.
    DroneLost { drone: DroneId, reason: Reason },
    /// The drone has worked long enough since it was heard again: the steps of healing are forgotten.
    DroneHealed { drone: DroneId },
    /// An admin set whether the drone's machine is protected from reboots.
    DroneProtected { drone: DroneId, protected: bool },
    /// A step of healing begins; nothing has been done yet.
    HealStepBegan { drone: DroneId, step: HealStep },
    /// A step of healing ended.
    HealStepEnded {
        drone: DroneId,
        step: HealStep,
        outcome: HealOutcome,
        #[serde(with = "reason::optional")]
        detail: Option<Reason>,
    },
    /// Only a reboot is left, and an admin has to confirm it.
    RebootWanted { drone: DroneId, reason: Reason },
    /// An admin confirmed the reboot of a silent drone's machine.
    RebootConfirmed { drone: DroneId },

    /// A base was created or got a new generation.
    BasePut {
        name: Name,
        #[serde(with = "crate::record")]
        generation: Box<BaseGeneration>,
    },
    /// An earlier generation of a base is current again, and later ones are forgotten.
    BaseRolledBack { name: Name, from: u64, to: u64 },
    /// A base was removed.
    BaseRemoved { name: Name },
    /// Whether a base follows the tree was set.
    BaseFollowSet { name: Name, follow: bool },
    /// Packages that a run built are to be installed on its base; `installed` is the resulting list of
    /// packages.
    BaseFollowBegan {
        name: Name,
        run: RunId,
        #[serde(with = "crate::record")]
        installed: Vec<Dependency>,
    },
    /// A drone was assigned the next generation of the run's base.
    BaseDelegated { run: RunId, attempt: AttemptId, drone: DroneId, key: String },
    /// The run's base is to be made again.
    BaseNeeded { run: RunId, not_before: TimeMs, reason: Reason },
    /// A base was made and checked: its next generation is current.
    BaseReceived {
        name: Name,
        attempt: AttemptId,
        #[serde(with = "crate::record")]
        generation: Box<BaseGeneration>,
        #[serde(with = "crate::record")]
        usage: Usage,
    },
    /// A base stopped following a run, because what the run built could not be installed on it.
    BaseFollowEnded { name: Name, reason: Reason },
    /// A profile was created or changed.
    ProfilePut {
        name: Name,
        #[serde(with = "crate::record")]
        request: ProfileRequest,
    },
    /// The next run of a profile tries this content.
    CandidateOffered {
        profile: Name,
        #[serde(with = "crate::record")]
        candidate: CandidateRequest,
    },
    /// A run with a candidate can serve everything that was served before: its content is now the profile's.
    CandidateTaken { profile: Name, run: RunId },
    /// The run of a candidate could not serve everything, or no candidate could be made of the source: the
    /// profile keeps its content.
    CandidateRefused { profile: Name, run: Option<RunId>, source: String, why: Reason },
    /// The timer that updates a profile ran.
    TimerRan {
        profile: Name,
        #[serde(with = "crate::record")]
        timer: TimerRequest,
    },
    /// No timer updates a profile any more.
    TimerRemoved { profile: Name },
    /// A profile was removed.
    ProfileRemoved { name: Name },
    /// A stable channel has a new generation to publish: what its runs lead to, or the content of
    /// generation `like`, an earlier or a staged one.
    GenerationMade { profile: Name, generation: u64, like: Option<u64> },
    /// A staging channel has a new generation to publish: what the profile's runs lead to, or the content
    /// of generation `like`.
    GenerationStaged { profile: Name, generation: u64, like: Option<u64> },
    /// Clients now see a new generation.
    GenerationPublished {
        profile: Name,
        run: RunId,
        generation: u64,
        packages: u64,
        #[serde(default, skip_serializing_if = "ChannelName::is_stable", with = "crate::record")]
        channel: ChannelName,
    },
    /// An old generation is dropped.
    GenerationForgotten { profile: Name, generation: u64 },
    /// A generation is kept until it is unpinned. An earlier note is replaced.
    GenerationPinned { profile: Name, generation: u64, note: String },
    /// A generation is no longer pinned.
    GenerationUnpinned { profile: Name, generation: u64 },
    /// Clients may have seen generations up to this number that the journal does not know.
    GenerationsSkipped {
        profile: Name,
        last: u64,
        #[serde(default, skip_serializing_if = "ChannelName::is_stable", with = "crate::record")]
        channel: ChannelName,
    },
    /// A stable channel keeps its content until it is released.
    ChannelHeld { profile: Name },
    /// A stable channel follows its runs again.
    ChannelReleased { profile: Name },

    /// A profile's schedule was set or changed.
    SchedulePut {
        profile: Name,
        #[serde(with = "crate::record")]
        request: ScheduleRequest,
        forecast: Forecast,
    },
    /// A profile's schedule was removed.
    ScheduleRemoved { profile: Name },
    /// The next due time has changed.
    ScheduleForeseen { profile: Name, forecast: Forecast },
    /// A due time was handled, with this outcome. A run that it started began just before.
    DueHandled { profile: Name, due: TimeMs, outcome: DueOutcome, forecast: Forecast },
    /// No work is assigned until the given time.
    PauseBegun {
        until: TimeMs,
        #[serde(with = "reason::optional")]
        reason: Option<Reason>,
    },
    /// Work is assigned again.
    PauseEnded { reason: Reason },

    /// A run began.
    RunStarted {
        run: RunId,
        profile: Name,
        class: RunClass,
        snapshot: Digest,
        #[serde(default, with = "crate::record")]
        base: Base,
    },
    /// A drone was assigned the run's plan.
    PlanDelegated { run: RunId, attempt: AttemptId, drone: DroneId, key: String },
    /// The run has its plan. The packages get the ids from `first_package` on.
    PlanReceived {
        run: RunId,
        attempt: AttemptId,
        first_package: PackageId,
        #[serde(with = "crate::record::plan")]
        plan: Arc<PlanReport>,
        #[serde(with = "crate::record")]
        usage: Usage,
    },
    /// The plan is to be tried again.
    PlanNeeded { run: RunId, not_before: TimeMs, reason: Reason },
    /// The run has ended.
    RunEnded {
        run: RunId,
        state: RunState,
        #[serde(with = "reason::optional")]
        reason: Option<Reason>,
    },
    /// Nothing of the run can proceed for now: what it has received so far is to be published.
    RunStandsStill { run: RunId, received: u64 },
    /// An admin's retry reopened an ended run.
    RunReopened { run: RunId },
    /// An old run's records are dropped.
    RunForgotten { run: RunId },

    /// The package's build key was built before, so it needs no build.
    PackageReused {
        package: PackageId,
        #[serde(with = "crate::record")]
        artifacts: Shared<Vec<Artifact>>,
    },
    /// A drone was assigned the package.
    PackageDelegated {
        package: PackageId,
        attempt: AttemptId,
        drone: DroneId,
        key: String,
        build_ids: Vec<u32>,
        /// The late attempt that this one deliberately duplicates.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duplicate_of: Option<AttemptId>,
        /// Whether the drone began the attempt before the journal was restored and is not known to have ended
        /// it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        returned: bool,
    },
    /// The package is to be tried again.
    PackageNeeded { package: PackageId, not_before: TimeMs, reason: Reason },
    /// The package was verified and stored. Every other attempt at it ends.
    PackageReceived {
        package: PackageId,
        attempt: AttemptId,
        #[serde(with = "crate::record")]
        artifacts: Shared<Vec<Artifact>>,
        #[serde(with = "crate::record")]
        usage: Usage,
    },
    /// Stored packages install the same paths or lack sonames that others need, so only one package of each
    /// pair can be installed.
    CollisionsFound { collisions: Vec<Collision> },
    /// A package was judged broken or untrustworthy.
    PackageQuarantined {
        package: PackageId,
        reason: Reason,
        /// Whether later runs need not try the package again until one of its inputs changes.
        #[serde(default)]
        lasting: bool,
    },
    /// A package was quarantined without an attempt: an earlier run judged it broken, and none of its inputs
    /// have changed.
    PackageHeld { package: PackageId, reason: Reason },
    /// An admin asked for another try; the package's failures are forgotten.
    PackageReleased { package: PackageId },
    /// An admin asked for packages to be rebuilt by the next run, whether or not their inputs have
    /// changed.
    RebuildWanted {
        packages: Vec<PackageId>,
        #[serde(with = "reason::optional")]
        reason: Option<Reason>,
    },

    /// An attempt reached a phase.
    AttemptPhaseReached { attempt: AttemptId, phase: Phase },
    /// An attempt failed.
    AttemptFailed {
        attempt: AttemptId,
        #[serde(with = "crate::record")]
        failure: Failure,
        #[serde(with = "crate::record")]
        usage: Usage,
    },
    /// An attempt delivered something that was refused.
    AttemptRejected {
        attempt: AttemptId,
        #[serde(flatten, with = "crate::record")]
        rejection: Rejection,
    },
    /// A drone returned the work of an attempt.
    AttemptHandedBack { attempt: AttemptId, reason: Reason },
    /// An attempt's lease was not renewed.
    AttemptLost { attempt: AttemptId, reason: Reason },
    /// An attempt's drone is back and still working on it, and no other drone is.
    AttemptRevived { attempt: AttemptId },

    /// From now on times follow the machine's clock. Times recorded since `since` were off by `by_ms`.
    ClockSet { since: TimeMs, by_ms: i64 },
    /// Transient: the orchestrator itself stood still and heard no drone for this long.
    StoodStill { for_ms: u64 },
    /// Transient: a drone was heard.
    DroneSeen {
        drone: DroneId,
        #[serde(default, with = "crate::record")]
        vitals: Option<Vitals>,
        draining: bool,
        #[serde(with = "crate::record")]
        stuck: BTreeMap<AttemptId, Stuck>,
    },
    /// Transient: the leases of attempts were extended until the given time.
    LeasesRenewed { attempts: Vec<AttemptId>, until: TimeMs },
    /// Transient: a drone waits for work until the given time.
    DroneWaits { drone: DroneId, until: TimeMs },
    /// Transient: another machine used a drone's credential and was refused.
    DroneCloned { drone: DroneId, sign: CloneSign },
}
