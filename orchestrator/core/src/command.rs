//! Commands that the swarm accepts. [`crate::decide`] turns a command into events or refuses it.

use crate::{
    refusal::CloneSign,
    state::{Collision, Forecast},
};
use std::sync::Arc;
use swarm_common::{
    digest::Digest,
    id::*,
    name::Name,
    state::{HealOutcome, HealStep, RunClass},
    time::TimeMs,
    wire::{
        admin::{CandidateRequest, ProfileRequest},
        artifact::Artifact,
        base::{BaseRequest, Image},
        calendar::{ScheduleRequest, TimerRequest},
        channel::ChannelName,
        drone::*,
        plan::PlanReport,
    },
};

/// A command, with everything that its outcome depends on besides the state.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The time of the request. It never decreases from one request to the next, except as set by
    /// [`Command::SetClock`].
    pub now: TimeMs,
    /// Randomness, for the jitter of retries.
    pub entropy: u64,
    /// Idempotency key of an admin's command: a repeat gets the first answer.
    pub key: Option<String>,
    pub command: Command,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// The orchestrator has started and read its journal.
    StartOrchestrator,
    /// Skip ids, so that none is assigned twice although the journal may lack events that were acknowledged.
    SkipIds,
    /// Another machine used this drone's credential and was refused.
    NoteClone { drone: DroneId, sign: CloneSign },
    /// Do what time alone requires: expire leases, detect silent drones, end pauses.
    Maintain,
    /// Correct the times of requests, which differ permanently from the machine's clock: from the next
    /// request on, they follow the clock.
    SetClock {
        /// How far the clock is ahead (or, if negative, behind), in milliseconds.
        by_ms: i64,
    },
    /// The engine did nothing for a while because its process or machine stood still. What drones
    /// sent meanwhile has not been read yet.
    NoteStandstill { for_ms: u64 },

    /// Register a one-time enrolment token.
    IssueEnrolToken {
        token_hash: Digest,
        /// How long the token is valid, in milliseconds.
        valid_ms: u64,
        /// Whether a drone that enrols with it is approved at once.
        approved: bool,
    },
    /// A machine asks to become a drone.
    EnrolDrone {
        /// Digest of the token that the machine presented.
        token_hash: Digest,
        name: Name,
        /// Digest of the credential that was made for the machine.
        credential_hash: Digest,
        facts: DroneFacts,
    },
    /// Let a pending drone work.
    ApproveDrone(DroneId),
    /// Give a drone no more work.
    DrainDrone(DroneId),
    /// Let a drained, grounded or lost drone work again.
    ResumeDrone(DroneId),
    /// Forget a drone and revoke its credential.
    RemoveDrone(DroneId),

    /// Set whether a drone's machine is protected from reboots.
    ProtectDrone { drone: DroneId, protected: bool },
    /// Let healing reboot the machine of a silent drone after the gentler steps have failed.
    ConfirmReboot(DroneId),
    /// The shell is about to take a step of healing.
    BeginHealing { drone: DroneId, step: HealStep },
    /// The shell reports the outcome of a step of healing.
    ReportHealing {
        drone: DroneId,
        step: HealStep,
        outcome: HealOutcome,
        /// What was observed, in one line.
        detail: String,
        /// The machine's boot id, if the machine was identified.
        boot_id: Option<String>,
    },

    /// Create a base, or add a generation to it.
    PutBase {
        name: Name,
        /// The image that the generation is made from, as the shell found it.
        image: Image,
        request: BaseRequest,
    },
    /// Return a base to its previous generation.
    RollBackBase(Name),
    /// Set whether a base follows the ebuild tree.
    FollowBase { name: Name, follow: bool },
    /// Forget a base.
    RemoveBase(Name),
    /// Create a profile, or change its content such as the snapshot.
    PutProfile { name: Name, request: ProfileRequest },
    /// Let the next run of a profile try new content.
    OfferCandidate { profile: Name, candidate: CandidateRequest },
    /// No candidate could be made of a profile's source.
    ReportNoCandidate {
        profile: Name,
        source: String,
        /// The reason, in one line.
        why: String,
    },
    /// The timer that updates a profile ran.
    NoteTimer { profile: Name, timer: TimerRequest },
    /// No timer updates a profile any more.
    RemoveTimer(Name),
    /// Forget a profile.
    RemoveProfile(Name),
    /// Start runs of a profile automatically.
    PutSchedule {
        profile: Name,
        request: ScheduleRequest,
        /// The due times of the schedule.
        forecast: Forecast,
    },
    /// Stop starting runs of a profile automatically.
    RemoveSchedule(Name),
    /// The next due time has changed, because the rules of its time zone have.
    Foresee { profile: Name, forecast: Forecast },
    /// A due time has come, perhaps a while ago.
    HandleDue {
        profile: Name,
        /// The last due time that has passed.
        due: TimeMs,
        /// The due times after it.
        forecast: Forecast,
    },
    /// Assign no work for a while.
    Pause {
        for_ms: u64,
        /// May be empty.
        reason: String,
    },
    /// Assign work again.
    Unpause,
    /// Start a run.
    StartRun { profile: Name, class: RunClass },
    /// Stop a run.
    CancelRun(RunId),
    /// Try a package again, forgetting its failures.
    RetryPackage(PackageId),
    /// Make the next run rebuild a package, whether or not its inputs have changed.
    Rebuild {
        package: PackageId,
        /// Whether to rebuild also the packages of the same run that were built with it.
        dependants: bool,
        /// May be empty.
        reason: String,
    },

    /// A drone asks for work.
    Claim { drone: DroneId, request: ClaimRequest },
    /// A drone reports that it is alive.
    Heartbeat { drone: DroneId, request: HeartbeatRequest },
    /// A drone shuts down.
    SignOff { drone: DroneId, reason: String },
    /// A drone delivers the plan of a plan attempt.
    ReceivePlan { drone: DroneId, attempt: AttemptId, plan: Arc<PlanReport>, usage: Usage },
    /// The shell has verified and stored everything that an attempt built.
    ReceivePackage {
        drone: DroneId,
        attempt: AttemptId,
        /// The stored files, in the order of the package's targets.
        artifacts: Vec<Artifact>,
        usage: Usage,
    },
    /// A drone has made and verified the base of an attempt.
    ReceiveBase { drone: DroneId, attempt: AttemptId, usage: Usage },
    /// The shell found that packages it is about to report install the same paths as other stored
    /// packages.
    NoteCollisions(Vec<Collision>),
    /// The shell refused a file that an attempt delivered.
    RejectPackage { drone: DroneId, attempt: AttemptId, rejection: Rejection },
    /// An attempt failed.
    ReportFailure { drone: DroneId, attempt: AttemptId, failure: Failure, usage: Usage },
    /// A drone returns work that it has not finished.
    HandBack { drone: DroneId, attempt: AttemptId, reason: String },
    /// Give a profile's stable channel the content of an earlier generation, and hold it there.
    RollBack {
        profile: Name,
        /// The generation. `None` means the last one with other content.
        generation: Option<u64>,
    },
    /// Publish what a profile's runs lead to in its stable channel, and let the channel follow them again,
    /// unless the profile publishes to staging.
    Promote {
        profile: Name,
        /// The generation of the staging channel. `None` means the current one.
        generation: Option<u64>,
    },
    /// Keep a generation of a profile's stable channel until it is unpinned.
    PinGeneration {
        profile: Name,
        generation: u64,
        /// Why, for people; it replaces an earlier note. May be empty.
        note: String,
    },
    /// Keep a generation only as long as others.
    UnpinGeneration { profile: Name, generation: u64 },
    /// The publisher found generations that the journal does not know, as happens after a restore.
    SkipGenerations {
        profile: Name,
        channel: ChannelName,
        /// Number of the last one found.
        last: u64,
    },
    /// The publisher has switched a channel to a new generation.
    RecordGeneration {
        profile: Name,
        channel: ChannelName,
        /// The run whose packages the generation contains.
        run: RunId,
        generation: u64,
        packages: u64,
    },
}
