//! Commands that the swarm accepts. [`crate::decide`] turns a command into events or refuses it.

use crate::state::{Collision, Forecast};
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
    /// The time. It never decreases from request to request, except as set by
    /// [`Command::SetClock`].
    pub now: TimeMs,
    /// Randomness, for the jitter of retries.
    pub entropy: u64,
    /// Idempotency key of an admin's command: a repeat gets the first answer.
    pub key: Option<String>,
    /// The command.
    pub command: Command,
}

/// A command.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// The orchestrator has started and read its journal.
    StartOrchestrator,
    /// Continue with ids that were never assigned, although the journal may lack events that were
    /// acknowledged.
    SkipIds,
    /// Another machine used this drone's credential and was refused.
    NoteClone {
        /// The drone whose credential was used.
        drone: DroneId,
        /// How it was detected.
        what: String,
    },
    /// Do what time alone requires: expire leases, detect silent drones, end pauses.
    Maintain,
    /// The machine's clock and the times of requests differ permanently: from the next request on,
    /// times follow the clock.
    SetClock {
        /// How far the clock is ahead (or, if negative, behind), in milliseconds.
        by_ms: i64,
    },
    /// The engine did nothing for a while because its process or machine stood still. What drones
    /// sent meanwhile has not been read yet.
    NoteStandstill {
        /// Duration in milliseconds.
        for_ms: u64,
    },

    /// Register a one-time enrolment token.
    IssueEnrolToken {
        /// Digest of the token.
        token_hash: Digest,
        /// How long the token is valid, in milliseconds.
        valid_ms: u64,
        /// Whether a drone that enrols with it is approved at once.
        approved: bool,
    },
    /// A machine asks to become a drone.
    EnrolDrone {
        /// Digest of the token it presented.
        token_hash: Digest,
        /// The name it asks for.
        name: Name,
        /// Digest of the credential made for it.
        credential_hash: Digest,
        /// What the drone reports about its machine and configuration.
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
    ProtectDrone {
        /// The drone.
        drone: DroneId,
        /// Whether it is protected.
        protected: bool,
    },
    /// Let healing reboot the machine of a silent drone after the gentler steps have failed.
    ConfirmReboot(DroneId),
    /// The shell is about to take a step of healing.
    BeginHealing {
        /// The drone.
        drone: DroneId,
        /// The step that is due.
        step: HealStep,
    },
    /// The shell reports the outcome of a step of healing.
    ReportHealing {
        /// The drone.
        drone: DroneId,
        /// The step.
        step: HealStep,
        /// Its outcome.
        outcome: HealOutcome,
        /// What was observed, in one line.
        detail: String,
        /// The machine's boot id, if the machine was identified.
        boot_id: Option<String>,
    },

    /// Create a base, or add a generation to it.
    PutBase {
        /// Its name.
        name: Name,
        /// The image that it is made from, as the shell found it.
        image: Image,
        /// The request.
        request: BaseRequest,
    },
    /// Return a base to its previous generation.
    RollBackBase(Name),
    /// Set whether a base follows the tree.
    FollowBase {
        /// The base.
        name: Name,
        /// Whether it follows.
        follow: bool,
    },
    /// Forget a base.
    RemoveBase(Name),
    /// Create a profile, or change its content such as the snapshot.
    PutProfile {
        /// Its name.
        name: Name,
        /// Its content.
        request: ProfileRequest,
    },
    /// Let the next run of a profile try other content.
    OfferCandidate {
        /// The profile.
        profile: Name,
        /// The content.
        candidate: CandidateRequest,
    },
    /// No candidate could be made of a profile's source.
    ReportNoCandidate {
        /// The profile.
        profile: Name,
        /// The source.
        source: String,
        /// The reason, in one line.
        why: String,
    },
    /// The timer that updates a profile ran.
    NoteTimer {
        /// The profile.
        profile: Name,
        /// The timer.
        timer: TimerRequest,
    },
    /// No timer updates a profile any more.
    RemoveTimer(Name),
    /// Forget a profile.
    RemoveProfile(Name),
    /// Start runs of a profile automatically.
    PutSchedule {
        /// The profile.
        profile: Name,
        /// The schedule.
        request: ScheduleRequest,
        /// The due times that follow from it.
        forecast: Forecast,
    },
    /// Stop starting runs of a profile automatically.
    RemoveSchedule(Name),
    /// The next due time has changed, because the rules of its time zone have.
    Foresee {
        /// The profile of the schedule.
        profile: Name,
        /// The new forecast.
        forecast: Forecast,
    },
    /// A due time has come, perhaps a while ago.
    HandleDue {
        /// The profile of the schedule.
        profile: Name,
        /// The last due time that has passed.
        due: TimeMs,
        /// The due times that follow it.
        forecast: Forecast,
    },
    /// Assign no work for a while.
    Pause {
        /// Duration in milliseconds.
        for_ms: u64,
        /// The reason; may be empty.
        reason: String,
    },
    /// Assign work again.
    Unpause,
    /// Start a run.
    StartRun {
        /// The profile.
        profile: Name,
        /// Its urgency.
        class: RunClass,
    },
    /// Stop a run.
    CancelRun(RunId),
    /// Try a package again, forgetting its failures.
    RetryPackage(PackageId),
    /// Make the next run rebuild a package, whether or not its inputs have changed.
    Rebuild {
        /// The package.
        package: PackageId,
        /// Whether to rebuild also the packages of its run that were built with it.
        dependants: bool,
        /// The reason; may be empty.
        reason: String,
    },

    /// A drone asks for work.
    Claim {
        /// The drone.
        drone: DroneId,
        /// Its request.
        request: ClaimRequest,
    },
    /// A drone reports that it is alive.
    Heartbeat {
        /// The drone.
        drone: DroneId,
        /// Its report.
        request: HeartbeatRequest,
    },
    /// A drone shuts down.
    SignOff {
        /// The drone.
        drone: DroneId,
        /// The reason.
        reason: String,
    },
    /// A drone delivers the plan of a plan attempt.
    ReceivePlan {
        /// The drone.
        drone: DroneId,
        /// The attempt.
        attempt: AttemptId,
        /// The plan.
        plan: Arc<PlanReport>,
        /// Time and memory that the attempt used.
        usage: Usage,
    },
    /// The shell has verified and stored everything that an attempt built.
    ReceivePackage {
        /// The drone.
        drone: DroneId,
        /// The attempt.
        attempt: AttemptId,
        /// The stored files, in the order of the targets.
        artifacts: Vec<Artifact>,
        /// Time and memory that the attempt used.
        usage: Usage,
    },
    /// A drone has made and checked the base that an attempt is for.
    ReceiveBase {
        /// The drone.
        drone: DroneId,
        /// The attempt.
        attempt: AttemptId,
        /// Time and memory that the attempt used.
        usage: Usage,
    },
    /// The shell found that packages it is about to report install the same paths as other stored
    /// packages.
    NoteCollisions(Vec<Collision>),
    /// The shell refused a file that an attempt delivered.
    RejectPackage {
        /// The drone.
        drone: DroneId,
        /// The attempt.
        attempt: AttemptId,
        /// The reason.
        rejection: Rejection,
    },
    /// An attempt failed.
    ReportFailure {
        /// The drone.
        drone: DroneId,
        /// The attempt.
        attempt: AttemptId,
        /// The failure.
        failure: Failure,
        /// Time and memory that the attempt used.
        usage: Usage,
    },
    /// A drone returns work that it has not finished.
    HandBack {
        /// The drone.
        drone: DroneId,
        /// The attempt.
        attempt: AttemptId,
        /// The reason.
        reason: String,
    },
    /// Give a profile's stable channel the content of an earlier generation, and hold it there.
    RollBack {
        /// The profile.
        profile: Name,
        /// The generation; if none, the last one with other content.
        generation: Option<u64>,
    },
    /// Publish what a profile's runs lead to in its stable channel, and let that follow them again unless
    /// the profile publishes to staging.
    Promote {
        /// The profile.
        profile: Name,
        /// The generation of the staging channel; if none, the current one.
        generation: Option<u64>,
    },
    /// The publisher found generations that the journal does not know, as after a restore.
    SkipGenerations {
        /// The profile.
        profile: Name,
        /// The channel.
        channel: ChannelName,
        /// Number of the last one.
        last: u64,
    },
    /// The publisher has switched a channel to a new generation.
    RecordGeneration {
        /// The profile.
        profile: Name,
        /// The channel.
        channel: ChannelName,
        /// The run whose packages the generation contains.
        run: RunId,
        /// Number of the generation.
        generation: u64,
        /// Number of packages in it.
        packages: u64,
    },
}
