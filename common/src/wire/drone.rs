//! The drone protocol: enrol, claim, heartbeat, upload, report.
//!
//! A drone authenticates with `Authorization: Bearer CREDENTIAL`. Its id follows from the
//! credential and is never taken from a request body.

pub use super::{
    machine::{DroneFacts, Vitals},
    outcome::Outcome,
    target::{PortageTarget, Target},
};

use super::{
    base::{Base, Dependency},
    nix::NixInput,
    plan::PlanStage,
};
use crate::{digest::Digest, id::*, name::Name, state::*, time::TimeMs};
use serde::{Deserialize, Serialize};

/// `POST /enrol`, without authentication: a machine asks to become a drone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// The one-time token that an admin made.
    pub token: String,
    /// What the drone wants to be called.
    pub name: Name,
    /// What the machine is.
    pub facts: DroneFacts,
    /// The SHA-256 of a secret that the machine has made and keeps: it is the drone's credential
    /// from then on. A repeated enrolment with the same one gets the same drone. If it is left
    /// out, the orchestrator makes a credential, and an answer that is lost loses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_hash: Option<Digest>,
}

/// Answer to an enrolment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolReply {
    /// The drone's id.
    pub drone: DroneId,
    /// The secret that acts for this drone, if the machine did not make it itself. It is shown
    /// once and stored only as a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// `POST /claim`: give me work, and wait for it if there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ClaimRequest {
    /// Made anew for each claim, kept when a claim is repeated because its answer was
    /// lost: the repeat then gets the same attempt. At most 64 characters.
    pub key: String,
    /// How long the orchestrator may keep the request open, in milliseconds.
    pub wait_ms: u64,
    /// Free memory in bytes.
    pub memory_free_bytes: u64,
}

/// Answer to a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClaimReply {
    /// The work, if there is any for this drone.
    pub assignment: Option<Assignment>,
    /// Why there is none.
    pub reason: Option<String>,
}

/// One attempt, as its drone is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Assignment {
    /// The attempt; every later message about this work carries it.
    pub attempt: AttemptId,
    /// The run it belongs to.
    pub run: RunId,
    /// The profile to build for.
    pub profile: Name,
    /// The pinned configuration and repositories.
    pub snapshot: Digest,
    /// Path of the binary package host that has the dependencies, relative to the
    /// orchestrator's address.
    pub binhost: String,
    /// What it happens in.
    #[serde(default)]
    pub base: Base,
    /// The lease runs out this long after the last heartbeat that names the attempt.
    pub lease_ms: u64,
    /// Bounds of the build.
    pub limits: BuildLimits,
    /// What to do.
    pub work: Work,
}

/// Bounds of one build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BuildLimits {
    /// The whole build may take this long.
    pub build_timeout_ms: u64,
    /// It may print nothing for this long.
    pub silence_timeout_ms: u64,
    /// The log is cut off here.
    pub log_bytes: u64,
    /// Upper bound for parallel jobs; 0 means what the drone is configured for.
    pub jobs: u32,
}

/// What an attempt is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Work {
    /// Run the resolver over the world set.
    Plan,
    /// Build a package.
    Build(BuildOrder),
    /// Make the base that is named, with all that is installed on its image, and check it.
    Base,
}

/// What to build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BuildOrder {
    /// The package's id.
    pub package: PackageId,
    /// The files that must come back: one, or one for each member of a cycle.
    pub targets: Vec<Target>,
    /// For a cycle: what to build in which order; `package` counts in `targets`. Empty
    /// for a single package.
    pub stages: Vec<PlanStage>,
    /// All that is installed beside the base while it is built, what others need at run time
    /// first: the build dependencies and their run-time closure.
    #[serde(default)]
    pub dependencies: Vec<Dependency>,
    /// For Nix instead: all store paths that the build needs, each after those that it refers to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<NixInput>,
}

/// `POST /heartbeat`: I live, and this is what I do. Renews the leases it names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HeartbeatRequest {
    /// How the machine is.
    pub vitals: Vitals,
    /// Every attempt the drone has, finished ones that wait for upload included.
    pub attempts: Vec<AttemptStatus>,
    /// The drone was told to stop and takes no more work.
    pub draining: bool,
    /// Boot id of the machine, so that a reboot is seen.
    pub boot_id: String,
    /// What the machine is, if the orchestrator may not know it yet: after each start, and
    /// when it has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<DroneFacts>,
}

/// How one attempt is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AttemptStatus {
    /// Which.
    pub attempt: AttemptId,
    /// How far.
    pub phase: Phase,
    /// It is done and does not get through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<Stuck>,
}

/// Files of an attempt that do not get through, though the orchestrator answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Stuck {
    /// How long no byte more has arrived, in milliseconds.
    pub for_ms: u64,
    /// What came of the last try: a proxy's answer, or none. At most 300 characters.
    pub why: String,
}

/// Answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeartbeatReply {
    /// Attempts to stop and forget, with the reason.
    pub cancel: Vec<Cancellation>,
    /// The drone's state, as the orchestrator sees it.
    pub state: DroneState,
    /// The orchestrator's time.
    pub now: TimeMs,
    /// What the drone is enrolled as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
}

/// An attempt that is no longer wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Cancellation {
    /// Which.
    pub attempt: AttemptId,
    /// Why.
    pub reason: String,
}

/// `POST /attempts/{a}/report`: how an attempt ended. A repeat gets the first answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReportRequest {
    /// How it ended.
    pub outcome: Outcome,
    /// What it took.
    pub usage: Usage,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Whose fault, so far as the drone can tell.
    pub class: FailureClass,
    /// What was lacking, if that is why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<FailureCause>,
    /// Where it happened.
    pub phase: Phase,
    /// The first error, normalised (no paths, numbers, times), to tell like from like.
    /// At most 200 characters.
    pub signature: String,
    /// The first error as it was printed. At most 4 KiB.
    pub message: String,
}

impl Failure {
    /// A short form of the error for display: its first line as printed. At most 300 characters.
    #[must_use]
    pub fn headline(&self) -> String {
        let first = self.message.lines().map(str::trim).find(|line| !line.is_empty());
        first.unwrap_or(&self.signature).chars().take(300).collect()
    }
}

/// What an attempt took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// From assignment to the end of the build.
    pub wall_ms: u64,
    /// User and system time of all processes.
    pub cpu_ms: u64,
    /// Largest resident memory in bytes.
    pub peak_memory_bytes: u64,
}

/// Answer to a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReportReply {
    /// Whether the result counts. If not, another attempt's did, or the work was cancelled.
    pub accepted: bool,
    /// What became of it.
    pub reason: String,
}

/// `POST /attempts/{a}/uploads`: a file is about to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UploadRequest {
    /// SHA-256 of the whole file; also the upload's name.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Which target it is ([`Target::id`]). Older drones call it `cpv`.
    #[serde(alias = "cpv")]
    pub target: String,
}

/// Where an upload stands. Bytes follow as `PATCH /attempts/{a}/uploads/{digest}` with
/// `Upload-Offset`, as in the IETF draft on resumable uploads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UploadStatus {
    /// Bytes safely stored so far; the next piece begins here.
    pub offset: u64,
    /// All bytes are there and the file passed every check.
    pub verified: bool,
}

/// `POST /sign-off`: the drone stops. Its unfinished attempts are needed again at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SignOffRequest {
    /// Why, for the record.
    pub reason: String,
}
