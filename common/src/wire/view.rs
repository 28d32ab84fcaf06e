//! Views for people: the responses of the read-only routes, and the output of `swarmctl --json`.

use super::{
    admin::BuilderKind,
    artifact::Artifact,
    base::BaseStatus,
    calendar::PauseView,
    concern::{Action, Concern, Offline},
    drone::*,
    known,
    nix::NixRoot,
    plan::PlanProblem,
};
use crate::{digest::Digest, id::*, name::Name, state::*, time::TimeMs, wire::admin::Rebuild};
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
    /// Whether nothing needs a person.
    pub healthy: bool,
    /// What is wrong, one line each, worst first.
    pub concerns: Vec<Concern>,
    /// The one thing to do next, if anything: a sentence or a command.
    pub next_action: Option<String>,
    /// The same, if it is a command.
    #[serde(default, deserialize_with = "known")]
    pub action: Option<Action>,
    /// Runs under way, and the last ended one of each profile.
    pub runs: Vec<RunView>,
    /// Every drone.
    pub drones: Vec<DroneView>,
    /// Packages of the runs under way, by state.
    pub queue: BTreeMap<PackageState, u64>,
    /// Number of the last journaled event.
    pub journal_seq: u64,
    /// The pause, if nothing is handed out.
    #[serde(default)]
    pub pause: Option<PauseView>,
    /// Set if a standby answered: who leads, in a few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<String>,
    /// What works in the background, and when it last did.
    #[serde(default)]
    pub passes: Vec<PassView>,
    /// Where every base stands.
    #[serde(default)]
    pub bases: Vec<BaseStatus>,
    /// Connections, by who is at their other end.
    #[serde(default)]
    pub connections: Vec<ConnectionsView>,
}

/// Connections of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConnectionsView {
    /// Of which kind.
    pub of: Caller,
    /// How many are open.
    pub open: u64,
    /// How many may be.
    pub limit: u64,
    /// How many, since the orchestrator started, were refused or had to make room for others.
    pub turned_away: u64,
}

/// A pass: work that the orchestrator does by itself, again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PassView {
    /// What it is called.
    pub name: String,
    /// When it last ran.
    pub last_run: TimeMs,
    /// What it did when it last had something to do; empty if it never had.
    pub did: String,
    /// When that was.
    pub did_at: Option<TimeMs>,
    /// Why its last run failed, if it did.
    pub trouble: Option<String>,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunView {
    /// Which.
    pub id: RunId,
    /// Of which profile.
    pub profile: Name,
    /// How urgent.
    pub class: RunClass,
    /// Where it stands.
    pub state: RunState,
    /// Why it is so, when that is not plain.
    pub reason: Option<String>,
    /// What it builds from.
    pub snapshot: Digest,
    /// When it started.
    pub started_at: TimeMs,
    /// When it ended.
    pub ended_at: Option<TimeMs>,
    /// Its packages by state.
    pub counts: BTreeMap<PackageState, u64>,
    /// Packages taken over because their build key had been built before.
    pub reused: u64,
    /// Packages not tried again, because an earlier run judged them broken and nothing that
    /// they are built from has changed.
    #[serde(default)]
    pub held: u64,
    /// How many seconds of drones' time that saves, as trying them took when they were judged.
    #[serde(default)]
    pub saved_s: u64,
    /// Predicted end, while it is under way.
    pub eta: Option<TimeMs>,
    /// What the resolver refused.
    pub problems: Vec<PlanProblem>,
    /// The attempts at its plan, oldest first.
    #[serde(default)]
    pub plan_attempts: Vec<AttemptId>,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PackageView {
    /// Which.
    pub id: PackageId,
    /// Of which run.
    pub run: RunId,
    /// Of which profile.
    pub profile: Name,
    /// What it is called: its version, or those of a cycle's members joined by ` + `.
    pub title: String,
    /// The files it consists of. The build id is that of the last attempt, or 0.
    pub targets: Vec<Target>,
    /// Where it stands.
    pub state: PackageState,
    /// Why it is so, in one line; never empty unless received.
    pub reason: String,
    /// What decides its content.
    pub build_key: Digest,
    /// The dependencies it waits for.
    pub blocked_on: Vec<PackageId>,
    /// Packages that wait for it.
    pub dependants: u64,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptView>,
    /// What was received.
    pub artifacts: Vec<Artifact>,
    /// Predicted seconds of building on a drone of speed 1.
    pub predicted_s: u64,
}

/// A package in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PackageRow {
    /// Which.
    pub id: PackageId,
    /// Of which run.
    pub run: RunId,
    /// What it is called.
    pub title: String,
    /// Where it stands.
    pub state: PackageState,
    /// Why it is so.
    pub reason: String,
    /// The drone that has it, if it is delegated.
    pub drone: Option<Name>,
    /// How far it is, if it is delegated.
    pub phase: Option<Phase>,
    /// Attempts so far.
    pub attempts: u32,
}

/// An attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttemptView {
    /// Which.
    pub id: AttemptId,
    /// On which drone.
    pub drone: DroneId,
    /// Its name.
    pub drone_name: Name,
    /// When it was handed out.
    pub started_at: TimeMs,
    /// When it ended.
    pub ended_at: Option<TimeMs>,
    /// How far it is, or was.
    pub phase: Phase,
    /// When each phase began.
    pub phases: BTreeMap<Phase, TimeMs>,
    /// How it ended: `built`, `planned`, `handed back`, or the failure's class.
    pub outcome: Option<String>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// What it took.
    pub usage: Option<Usage>,
}

/// A drone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DroneView {
    /// Which.
    pub id: DroneId,
    /// What it is called.
    pub name: Name,
    /// Where it stands.
    pub state: DroneState,
    /// Why it is so, and until when.
    pub reason: String,
    /// Why it is away, if it is.
    #[serde(default, deserialize_with = "known")]
    pub offline: Option<Offline>,
    /// What its machine is.
    pub facts: DroneFacts,
    /// How its machine is.
    pub vitals: Option<Vitals>,
    /// When it was last heard from since the orchestrator started.
    pub last_seen: Option<TimeMs>,
    /// Failures in a row that were its own.
    pub strikes: u32,
    /// What healing does next about it and when, while it is silent.
    #[serde(default)]
    pub healing: Option<String>,
    /// Its machine is never rebooted.
    #[serde(default)]
    pub protected: bool,
    /// Learned speed; 1 is average.
    pub speed: f64,
    /// What it works on.
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
    /// How far.
    pub phase: Phase,
    /// Since when.
    pub since: TimeMs,
}

/// A profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProfileView {
    /// What it is called.
    pub name: Name,
    /// What builds it.
    pub builder: BuilderKind,
    /// What it is pinned to.
    pub snapshot: Digest,
    /// Where that came from.
    pub source: String,
    /// What it is built in; the drone's own `/` if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Name>,
    /// When its packages are rebuilt.
    #[serde(default)]
    pub rebuild: Rebuild,
    /// Number of the published generation; 0 before the first.
    pub generation: u64,
    /// Packages in it.
    pub published_packages: u64,
    /// Path of its binary package host, relative to the orchestrator's address.
    pub binhost: String,
    /// For Nix: what each attribute and host is at, all of it served.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<NixRoot>,
}

/// `GET /key`: what clients need to trust the swarm's packages.
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

/// `GET /why/{package}`: what is known of a package, newest run first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WhyView {
    /// The package.
    pub package: PackageView,
    /// What stands, what it waits for, and how that ends, one sentence a line.
    pub lines: Vec<String>,
    /// The same, with what each line is about; empty from an older orchestrator.
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

/// `GET /audit`: whether everything that is kept is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditView {
    /// Events checked.
    pub events: u64,
    /// Hash of the last one.
    pub head: Digest,
    /// Artifacts whose bytes were compared with their digest.
    pub artifacts: u64,
    /// What is wrong; empty if nothing is.
    pub faults: Vec<String>,
    /// What was wrong and was made good from what is whole.
    #[serde(default)]
    pub mended: Vec<String>,
}

/// One event of the journal, as `GET /events` streams it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventView {
    /// Its number; `Last-Event-ID` resumes after it.
    pub seq: u64,
    /// When.
    pub at: TimeMs,
    /// What happened, as the journal has it.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub event: serde_json::Value,
}
