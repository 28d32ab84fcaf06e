//! The drone protocol: enrol, claim, heartbeat, upload, report.
//!
//! A drone authenticates with `Authorization: Bearer CREDENTIAL`. Its id follows from the
//! credential and is never taken from a request body.

pub use super::{
    machine::{DroneFacts, Vitals},
    outcome::{Failure, Outcome},
    target::{PortageTarget, Target},
};

use super::{
    base::{Base, Dependency},
    nix::{DerivationArchive, NixInput},
    plan::PlanStage,
};
use crate::{digest::Digest, id::*, name::Name, state::*, time::TimeMs};
use serde::{Deserialize, Serialize};

/// `POST /enrol`, without authentication: enrols a machine as a drone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolRequest {
    /// The one-time token that an admin created. Empty for a drone that returns after the orchestrator's
    /// journal was restored from a time before the drone enrolled; an admin must approve it.
    pub token: String,
    /// Requested name of the drone.
    pub name: Name,
    /// Facts about the machine.
    pub facts: DroneFacts,
    /// SHA-256 of a secret that the machine created; the secret becomes the drone's credential.
    /// Repeating the enrolment with the same digest returns the same drone. Without it, the
    /// orchestrator creates a credential, which is lost if the response is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_hash: Option<Digest>,
}

/// Response to an enrolment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolReply {
    /// The drone's id.
    pub drone: DroneId,
    /// The drone's credential, if the orchestrator created it. It is returned once and stored only as a
    /// digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// `POST /claim`: requests work and waits for it if there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClaimRequest {
    /// A new key for each claim. A claim repeated after a lost response uses the same key and gets the
    /// same attempt. At most 64 characters.
    pub key: String,
    /// How long the orchestrator may keep the request open, in milliseconds.
    pub wait_ms: u64,
    /// Free memory in bytes.
    pub memory_free_bytes: u64,
}

/// Response to a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClaimReply {
    /// The work, if any.
    pub assignment: Option<Assignment>,
    /// Why there is no work.
    pub reason: Option<String>,
}

/// An attempt as sent to its drone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Assignment {
    /// The attempt; every later message about this work contains its ID.
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
    /// The root file system to work in.
    #[serde(default)]
    pub base: Base,
    /// The lease expires this long after the last heartbeat that lists the attempt, in milliseconds.
    pub lease_ms: u64,
    /// Limits of the build.
    pub limits: BuildLimits,
    /// What to do.
    pub work: Work,
}

impl Assignment {
    /// What the build is made from. `None` for other kinds of work, and if the orchestrator sent no key.
    #[must_use]
    pub fn made_from(&self) -> Option<MadeFrom> {
        let Work::Build(order) = &self.work else { return None };
        Some(MadeFrom { key: order.key?, base: self.base.digest() })
    }
}

/// Limits of one build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BuildLimits {
    /// Maximum duration of the build, in milliseconds.
    pub build_timeout_ms: u64,
    /// Maximum time without output, in milliseconds.
    pub silence_timeout_ms: u64,
    /// Maximum size of the log, in bytes.
    pub log_bytes: u64,
    /// Maximum number of parallel jobs; 0 means the drone's own setting.
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
    /// Install packages on the image of a base, and check the result.
    Base,
}

/// What to build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BuildOrder {
    /// The package's ID.
    pub package: PackageId,
    /// The files to return: one, or one for each member of a cycle.
    pub targets: Vec<Target>,
    /// For a cycle, the build steps in order; `package` is an index into `targets`. Empty for a single
    /// package.
    pub stages: Vec<PlanStage>,
    /// All packages to install on the base for the build, run-time dependencies before their
    /// dependants: the build dependencies and their run-time closure.
    #[serde(default)]
    pub dependencies: Vec<Dependency>,
    /// For Nix instead: all store paths that the build needs, each after those that it refers to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<NixInput>,
    /// For Nix: the archive that contains the derivation to build. Without it, the drone evaluates the
    /// snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derivations: Option<DerivationArchive>,
    /// Digest of everything that the package is made from. Missing from older orchestrators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Digest>,
}

/// `POST /heartbeat`: reports the drone's state and renews the leases of the listed attempts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeartbeatRequest {
    /// Load and free resources of the machine.
    pub vitals: Vitals,
    /// All attempts of the drone, including finished ones that wait for upload.
    pub attempts: Vec<AttemptStatus>,
    /// Whether the drone is stopping and accepts no new work.
    pub draining: bool,
    /// Boot ID of the machine, to detect reboots.
    pub boot_id: String,
    /// Facts about the machine, sent after each start and when they change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<DroneFacts>,
    /// The highest attempt ID that the drone has been assigned. If the orchestrator has assigned none so
    /// high, its journal was rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highest_attempt: Option<AttemptId>,
}

/// State of one attempt in a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttemptStatus {
    /// The attempt.
    pub attempt: AttemptId,
    /// The phase that it has reached.
    pub phase: Phase,
    /// The upload that makes no progress, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<Stuck>,
    /// Of a build: what it is made from. An orchestrator whose journal was restored does not know the
    /// attempt, and takes it back if a run needs that package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_from: Option<MadeFrom>,
}

/// What a build is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MadeFrom {
    /// The `key` of its order.
    pub key: Digest,
    /// Digest of the content of the base that it was built in.
    pub base: Digest,
}

/// A stuck upload of an attempt, although the orchestrator is reachable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stuck {
    /// Time without progress, in milliseconds.
    pub for_ms: u64,
    /// Error of the last try, such as a proxy's response. At most 300 characters.
    pub why: String,
}

/// Response to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeartbeatReply {
    /// Attempts to stop and discard, with the reason.
    pub cancel: Vec<Cancellation>,
    /// Attempts that a restored journal does not know and a later run may need. The drone keeps their
    /// results and does not send them before a response no longer names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<AttemptId>,
    /// The drone's state, as the orchestrator sees it.
    pub state: DroneState,
    /// The orchestrator's time.
    pub now: TimeMs,
    /// The name that the drone enrolled with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Whether the facts were ignored, because others were accepted shortly before. The drone sends them
    /// again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub facts_deferred: bool,
}

/// An attempt that the drone must stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Cancellation {
    /// The attempt.
    pub attempt: AttemptId,
    /// The reason, in one line.
    pub reason: String,
}

/// `POST /attempts/{a}/report`: reports how an attempt ended. A repeat gets the first response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReportRequest {
    /// How it ended.
    pub outcome: Outcome,
    /// For Nix: what the drone's Nix registered as references of each built file, as base names of store paths, in
    /// the order of the targets. Missing from older drones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Vec<String>>,
    /// Resources used.
    pub usage: Usage,
}

impl ReportRequest {
    /// A report without references.
    #[must_use]
    pub fn new(outcome: Outcome, usage: Usage) -> Self {
        Self { outcome, references: Vec::new(), usage }
    }

    /// Whether the attempt succeeded and delivers files.
    #[must_use]
    pub fn is_built(&self) -> bool {
        matches!(self.outcome, Outcome::Built { .. })
    }
}

/// Why the orchestrator rejected what an attempt delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rejection {
    /// A stable identifier such as `wrong-slot`, as in the type of the HTTP problem. Empty if a
    /// version before 0.2 recorded it.
    #[serde(default)]
    pub kind: String,
    /// What is wrong and what was expected, in one line.
    pub reason: String,
}

/// Resources used by an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// From assignment to the end of the build.
    pub wall_ms: u64,
    /// User and system time of all processes.
    pub cpu_ms: u64,
    /// Largest resident memory in bytes.
    pub peak_memory_bytes: u64,
}

/// Response to a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReportReply {
    /// Whether the result was accepted. If not, another attempt delivered first or the work was
    /// cancelled.
    pub accepted: bool,
    /// What happened to the result.
    pub reason: String,
}

/// `POST /attempts/{a}/uploads`: announces a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UploadRequest {
    /// SHA-256 of the whole file; also the upload's name.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Which target it is ([`Target::id`]). Older drones call it `cpv`.
    #[serde(alias = "cpv")]
    pub target: String,
}

/// State of an upload. Send the content with `PATCH /attempts/{a}/uploads/{digest}` and
/// `Upload-Offset`, as in the IETF draft on resumable uploads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UploadStatus {
    /// Number of bytes stored so far; the next chunk starts here.
    pub offset: u64,
    /// Whether the file is complete and passed all checks.
    pub verified: bool,
}

/// `POST /sign-off`: the drone stops. Its unfinished packages are needed again immediately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignOffRequest {
    /// The reason, for the record.
    pub reason: String,
}
