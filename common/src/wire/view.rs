//! Views for people: the responses of the read-only routes, and the output of `swarmctl --json`.

use super::{
    admin::{BuilderKind, CandidateView, Rebuild},
    artifact::Artifact,
    base::BaseStatus,
    build::BuildView,
    calendar::{PauseView, TimerView},
    channel::{ChannelName, StagedStatus},
    concern::{Action, Concern, Offline},
    drone::*,
    known,
    nix::{NixCache, NixRoot},
    plan::PlanProblem,
};
use crate::{digest::Digest, id::*, name::Name, state::*, time::TimeMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `GET /status`: the swarm on one screen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatusView {
    /// The orchestrator's version.
    pub version: String,
    /// The orchestrator's time.
    pub now: TimeMs,
    /// When it started.
    pub started_at: TimeMs,
    /// Whether no concern needs manual action.
    pub healthy: bool,
    /// The concerns, worst first.
    pub concerns: Vec<Concern>,
    /// The next action, if any: a sentence or a command.
    pub next_action: Option<String>,
    /// The next action, if it is a command.
    #[serde(default, deserialize_with = "known")]
    pub action: Option<Action>,
    /// Active runs, and the last ended one of each profile.
    pub runs: Vec<RunView>,
    /// Every drone.
    pub drones: Vec<DroneView>,
    /// The next run of each enabled schedule, earliest first.
    #[serde(default)]
    pub upcoming: Vec<UpcomingRun>,
    /// Packages of active runs, by state.
    pub queue: BTreeMap<PackageState, u64>,
    /// Number of the last journaled event.
    pub journal_seq: u64,
    /// The pause, if the swarm is paused.
    #[serde(default)]
    pub pause: Option<PauseView>,
    /// Set if a standby answered: a description of the leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<String>,
    /// The background jobs and their last results.
    #[serde(default)]
    pub passes: Vec<PassView>,
    /// State of every base.
    #[serde(default)]
    pub bases: Vec<BaseStatus>,
    /// What waits in staging channels to be promoted.
    #[serde(default)]
    pub staged: Vec<StagedStatus>,
    /// Connections by kind of client.
    #[serde(default)]
    pub connections: Vec<ConnectionsView>,
}

/// The next run of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpcomingRun {
    /// The profile.
    pub profile: Name,
    /// When the run is due.
    pub due: TimeMs,
}

/// Connections of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConnectionsView {
    /// The kind of client.
    pub of: Caller,
    /// Number of open connections.
    pub open: u64,
    /// The limit.
    pub limit: u64,
    /// Number of connections rejected or closed to make room for others since the orchestrator started.
    pub turned_away: u64,
}

/// A pass: a background job of the orchestrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PassView {
    /// Its name.
    pub name: String,
    /// Time of the last run.
    pub last_run: TimeMs,
    /// Result of the last time it had something to do; empty if never.
    pub did: String,
    /// The time of that result.
    pub did_at: Option<TimeMs>,
    /// Error of the last run, if it failed.
    pub trouble: Option<String>,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunView {
    /// ID of the run.
    pub id: RunId,
    /// Its profile.
    pub profile: Name,
    /// Its priority.
    pub class: RunClass,
    /// Its state.
    pub state: RunState,
    /// Reason for the state, if it needs one.
    pub reason: Option<String>,
    /// The snapshot that it builds from.
    pub snapshot: Digest,
    /// When it started.
    pub started_at: TimeMs,
    /// When it ended.
    pub ended_at: Option<TimeMs>,
    /// Its packages by state.
    pub counts: BTreeMap<PackageState, u64>,
    /// Number of packages reused from earlier runs because their build keys match.
    pub reused: u64,
    /// Number of packages not retried, because an earlier run found them broken and none of their
    /// inputs has changed.
    #[serde(default)]
    pub held: u64,
    /// Build time that this saves, in seconds.
    #[serde(default)]
    pub saved_s: u64,
    /// Predicted end, while it is active.
    pub eta: Option<TimeMs>,
    /// What the resolver rejected.
    pub problems: Vec<PlanProblem>,
    /// The attempts at its plan, oldest first.
    #[serde(default)]
    pub plan_attempts: Vec<AttemptId>,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PackageView {
    /// ID of the package.
    pub id: PackageId,
    /// Its run.
    pub run: RunId,
    /// Its profile.
    pub profile: Name,
    /// Its name and version, or those of a cycle's members joined by ` + `.
    pub title: String,
    /// Its files. The build ID is that of the last attempt, or 0.
    pub targets: Vec<Target>,
    /// Its state.
    pub state: PackageState,
    /// Reason for the state, in one line; only empty if received.
    pub reason: String,
    /// Digest of everything that determines its content.
    pub build_key: Digest,
    /// The dependencies it waits for.
    pub blocked_on: Vec<PackageId>,
    /// Number of packages that wait for it.
    pub dependants: u64,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptView>,
    /// The received artifacts.
    pub artifacts: Vec<Artifact>,
    /// How the artifacts were built. Missing from older orchestrators, and for artifacts that they stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub builds: Vec<BuildView>,
    /// Predicted seconds of building on a drone of speed 1.
    pub predicted_s: u64,
}

/// A package in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PackageRow {
    /// ID of the package.
    pub id: PackageId,
    /// Its run.
    pub run: RunId,
    /// Its name.
    pub title: String,
    /// Its state.
    pub state: PackageState,
    /// Reason for the state.
    pub reason: String,
    /// The drone that is building it, if it is delegated.
    pub drone: Option<Name>,
    /// Its phase, if it is delegated.
    pub phase: Option<Phase>,
    /// Attempts so far.
    pub attempts: u32,
}

/// An attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttemptView {
    /// ID of the attempt.
    pub id: AttemptId,
    /// The drone.
    pub drone: DroneId,
    /// The drone's name.
    pub drone_name: Name,
    /// When it was assigned.
    pub started_at: TimeMs,
    /// When it ended.
    pub ended_at: Option<TimeMs>,
    /// Its phase, or the last one that it reached.
    pub phase: Phase,
    /// When each phase began.
    pub phases: BTreeMap<Phase, TimeMs>,
    /// How it ended: `built`, `planned`, `handed back`, or the failure's class.
    pub outcome: Option<String>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Why its result was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejection: Option<Rejection>,
    /// Resources used.
    pub usage: Option<Usage>,
}

/// A drone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DroneView {
    /// ID of the drone.
    pub id: DroneId,
    /// Its name.
    pub name: Name,
    /// Its state.
    pub state: DroneState,
    /// Reason for the state, and until when.
    pub reason: String,
    /// Why it is away, if it is.
    #[serde(default, deserialize_with = "known")]
    pub offline: Option<Offline>,
    /// Facts about its machine.
    pub facts: DroneFacts,
    /// Load and free resources of its machine.
    pub vitals: Option<Vitals>,
    /// Last contact since the orchestrator started.
    pub last_seen: Option<TimeMs>,
    /// Consecutive failures that were its own fault.
    pub strikes: u32,
    /// The next healing step and its time, while the drone is silent.
    #[serde(default)]
    pub healing: Option<String>,
    /// Whether its machine is protected from reboots.
    #[serde(default)]
    pub protected: bool,
    /// Measured speed; 1 is average.
    pub speed: f64,
    /// Its current work.
    pub working_on: Vec<WorkView>,
}

/// What a drone works on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkView {
    /// The attempt.
    pub attempt: AttemptId,
    /// The package's title, or `plan of r7`.
    pub title: String,
    /// The phase that it has reached.
    pub phase: Phase,
    /// When it was assigned.
    pub since: TimeMs,
}

/// A profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProfileView {
    /// Its name.
    pub name: Name,
    /// The package manager that builds it.
    pub builder: BuilderKind,
    /// The snapshot that it is pinned to.
    pub snapshot: Digest,
    /// Source of the snapshot.
    pub source: String,
    /// Its base; the drone's own `/` if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Name>,
    /// When its packages are rebuilt.
    #[serde(default)]
    pub rebuild: Rebuild,
    /// The channel that follows its runs.
    #[serde(default)]
    pub publish: ChannelName,
    /// Number of the published generation of the stable channel; 0 before the first.
    pub generation: u64,
    /// Number of packages in it.
    pub published_packages: u64,
    /// Path of its binary package host, relative to the orchestrator's address.
    pub binhost: String,
    /// The content that it may switch to: what a run tries now, and what the next run will try.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<CandidateView>,
    /// Its update timer, if one has reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<TimerView>,
    /// For Nix: the store path of each attribute and host whose closure is served completely; before the
    /// first promotion, what staging serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<NixRoot>,
    /// For Nix: the caches whose packages are used instead of being built; the profile's machines need these
    /// caches as well. Only in the view of a single profile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<NixCache>,
}

/// `GET /key`: the keys that clients need to verify the swarm's packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyView {
    /// Fingerprint of the OpenPGP key, upper-case hexadecimal.
    pub fingerprint: String,
    /// The public key, ASCII-armored.
    pub public_key: String,
    /// The public keys of the Nix caches, as in `trusted-public-keys`; several during a rotation.
    #[serde(default)]
    pub nix: Vec<String>,
}

/// `GET /why/{package}`: explains a package's state in the newest run that has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WhyView {
    /// The package.
    pub package: PackageView,
    /// Its state, what it waits for, and what happens next; one sentence per line.
    pub lines: Vec<String>,
    /// The same lines with their topics; empty from an older orchestrator.
    #[serde(default)]
    pub story: Vec<WhyLine>,
}

/// A line of `why`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WhyLine {
    /// What it is about.
    #[serde(default, deserialize_with = "known")]
    pub about: WhyTopic,
    /// A sentence.
    pub text: String,
}

/// `GET /audit`: integrity of the journal and all stored files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditView {
    /// Number of events checked.
    pub events: u64,
    /// Hash of the last event.
    pub head: Digest,
    /// Number of artifacts compared with their digests.
    pub artifacts: u64,
    /// The damage found.
    pub faults: Vec<String>,
    /// The damage that was repaired.
    #[serde(default)]
    pub mended: Vec<String>,
}
