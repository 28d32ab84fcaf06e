//! What can be asked of the swarm. A command is a wish; [`crate::decide`] turns it into
//! events or refuses it.

use crate::{calendar::Forecast, collision::Collision};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use swarm_common::{
    digest::Digest,
    id::*,
    name::Name,
    state::{HealOutcome, HealStep, RunClass},
    time::TimeMs,
    wire::{
        admin::ProfileRequest,
        artifact::Artifact,
        base::{BaseRequest, Image},
        calendar::ScheduleRequest,
        drone::*,
        plan::PlanReport,
    },
};

/// A command with all that it may depend on besides the state.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The time, never earlier than that of any request before, but for what [`Command::SetClock`]
    /// said.
    pub now: TimeMs,
    /// Randomness, for the jitter of retries.
    pub entropy: u64,
    /// Idempotency key of an admin's command: a repeat gets the first answer.
    pub key: Option<String>,
    /// What is asked.
    pub command: Command,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// The orchestrator has started and read its journal.
    StartOrchestrator,
    /// Go on with ids that were never given out, although the journal may lack events that were
    /// acknowledged.
    SkipIds,
    /// Another machine used this drone's credential and was refused.
    NoteClone {
        /// Whose credential it is.
        drone: DroneId,
        /// How it is known.
        what: String,
    },
    /// Look at everything that time alone changes: leases, silence, pauses.
    Maintain,
    /// The machine's clock has proved to be another than times go by: from the next request on
    /// they go by that.
    SetClock {
        /// What it is ahead (or, negative, behind), in milliseconds.
        by_ms: i64,
    },
    /// The engine did nothing for so long, as its process or machine stood still: what drones
    /// said meanwhile is not read yet.
    NoteStandstill {
        /// For how long, in milliseconds.
        for_ms: u64,
    },

    /// Make a one-time enrolment token known.
    IssueEnrolToken {
        /// Digest of the token.
        token_hash: Digest,
        /// It works for this long.
        valid_ms: u64,
        /// Whoever enrols with it is approved already.
        approved: bool,
    },
    /// A machine asks to become a drone.
    EnrolDrone {
        /// Digest of the token it brought.
        token_hash: Digest,
        /// What it wants to be called.
        name: Name,
        /// Digest of the credential made for it.
        credential_hash: Digest,
        /// What its machine is.
        facts: DroneFacts,
    },
    /// Let a pending drone work.
    ApproveDrone(DroneId),
    /// Give a drone nothing more.
    DrainDrone(DroneId),
    /// Let a drained, grounded or lost drone work again.
    ResumeDrone(DroneId),
    /// Forget a drone and void its credential.
    RemoveDrone(DroneId),

    /// Keep a drone's machine from reboots, or no longer.
    ProtectDrone {
        /// Which drone.
        drone: DroneId,
        /// Whether it is kept from them.
        protected: bool,
    },
    /// Let healing reboot the machine of a silent drone, once the gentler steps failed.
    ConfirmReboot(DroneId),
    /// The shell is about to take a step of healing.
    BeginHealing {
        /// Which drone.
        drone: DroneId,
        /// The step that is due.
        step: HealStep,
    },
    /// The shell says how a step of healing ended.
    ReportHealing {
        /// Which drone.
        drone: DroneId,
        /// Which step.
        step: HealStep,
        /// How it ended.
        outcome: HealOutcome,
        /// What was seen, in one line.
        detail: String,
        /// The machine's boot id, if it proved to be the right one.
        boot_id: Option<String>,
    },

    /// Make a base, or a new generation of it.
    PutBase {
        /// Its name.
        name: Name,
        /// The image that it is made of, as the shell found it.
        image: Image,
        /// What was asked for.
        request: BaseRequest,
    },
    /// Use the generation of a base before the last one again.
    RollBackBase(Name),
    /// Have a base follow the tree, or stay as it is.
    FollowBase {
        /// Which base.
        name: Name,
        /// Whether it follows.
        follow: bool,
    },
    /// Forget a base.
    RemoveBase(Name),
    /// Make a profile or pin it to another snapshot.
    PutProfile {
        /// Its name.
        name: Name,
        /// Its content.
        request: ProfileRequest,
    },
    /// Forget a profile.
    RemoveProfile(Name),
    /// Have runs of a profile start by themselves.
    PutSchedule {
        /// Which profile.
        profile: Name,
        /// When.
        request: ScheduleRequest,
        /// What that comes to.
        forecast: Forecast,
    },
    /// Have them start no more.
    RemoveSchedule(Name),
    /// The next due time is another than was thought, as the rules of its zone have changed.
    Foresee {
        /// Whose schedule.
        profile: Name,
        /// What it comes to now.
        forecast: Forecast,
    },
    /// A due time has come, perhaps a while ago.
    HandleDue {
        /// Whose schedule.
        profile: Name,
        /// The last due time that has passed.
        due: TimeMs,
        /// What comes after it.
        forecast: Forecast,
    },
    /// Hand out no work for a while.
    Pause {
        /// For this long.
        for_ms: u64,
        /// Why; may be empty.
        reason: String,
    },
    /// Hand out work again.
    Unpause,
    /// Start a run.
    StartRun {
        /// For which profile.
        profile: Name,
        /// How urgent.
        class: RunClass,
    },
    /// Stop a run.
    CancelRun(RunId),
    /// Try a package again, with its failures forgotten.
    RetryPackage(PackageId),
    /// Have the next run rebuild a package, whether or not its inputs have changed.
    Rebuild {
        /// Which.
        package: PackageId,
        /// Whether to rebuild the packages of its run that were built with it, too.
        dependants: bool,
        /// Why; may be empty.
        reason: String,
    },

    /// A drone asks for work.
    Claim {
        /// Which drone.
        drone: DroneId,
        /// Its claim.
        request: ClaimRequest,
    },
    /// A drone lives.
    Heartbeat {
        /// Which drone.
        drone: DroneId,
        /// What it says.
        request: HeartbeatRequest,
    },
    /// A drone stops.
    SignOff {
        /// Which drone.
        drone: DroneId,
        /// Why.
        reason: String,
    },
    /// A plan attempt brings its plan.
    ReceivePlan {
        /// Which drone.
        drone: DroneId,
        /// Which attempt.
        attempt: AttemptId,
        /// The plan.
        plan: Arc<PlanReport>,
        /// What it took.
        usage: Usage,
    },
    /// The shell has verified and stored everything that an attempt built.
    ReceivePackage {
        /// Which drone.
        drone: DroneId,
        /// Which attempt.
        attempt: AttemptId,
        /// The stored files, in the order of the targets.
        artifacts: Vec<Artifact>,
        /// What it took.
        usage: Usage,
    },
    /// A drone has made and checked the base that an attempt is for.
    ReceiveBase {
        /// Which drone.
        drone: DroneId,
        /// Which attempt.
        attempt: AttemptId,
        /// What it took.
        usage: Usage,
    },
    /// The shell has found that what it is about to report installs the same paths as other
    /// stored packages.
    NoteCollisions(Vec<Collision>),
    /// The shell has refused a file that an attempt brought.
    RejectPackage {
        /// Which drone.
        drone: DroneId,
        /// Which attempt.
        attempt: AttemptId,
        /// Why, in one line.
        reason: String,
    },
    /// An attempt failed.
    ReportFailure {
        /// Which drone.
        drone: DroneId,
        /// Which attempt.
        attempt: AttemptId,
        /// Why.
        failure: Failure,
        /// What it took.
        usage: Usage,
    },
    /// A drone gives work back.
    HandBack {
        /// Which drone.
        drone: DroneId,
        /// Which attempt.
        attempt: AttemptId,
        /// Why.
        reason: String,
    },
    /// The publisher has switched a profile to a new generation.
    RecordGeneration {
        /// Which profile.
        profile: Name,
        /// The run whose packages it has.
        run: RunId,
        /// Number of the generation.
        generation: u64,
        /// Packages in it.
        packages: u64,
    },
}

/// The answer to a command that was not refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Done, or already so.
    Done,
    /// The drone that was enrolled.
    Drone(DroneId),
    /// The run that was started.
    Run(RunId),
    /// The packages that this is done to.
    Packages(Vec<PackageId>),
    /// Answer to a claim.
    Claim(Box<ClaimReply>),
    /// Answer to a heartbeat.
    Heartbeat(HeartbeatReply),
    /// Answer to a report.
    Report(ReportReply),
}
