//! Concerns as data: kind, subject, severity and what an admin can do. Texts are rendered from these
//! facts and never read back.

pub use super::action::Action;

use super::{admin::BuilderKind, known};
use crate::{cpv::Cpv, id::*, name::Name, state::*};
use serde::{Deserialize, Serialize};

/// A concern: something that needs attention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Concern {
    /// Its kind and details; `unknown` if an orchestrator of another version sent it.
    #[serde(default, deserialize_with = "known")]
    pub fact: ConcernKind,
    /// What is wrong and why, in one line.
    pub what: String,
    /// What happens automatically, or what to do.
    pub next: String,
    /// Identifies the concern while it lasts, regardless of counts, times and reasons: see
    /// [`ConcernKind::signature`].
    pub signature: String,
    /// Its severity.
    pub severity: Severity,
    /// The command that resolves or explains it, if any.
    #[serde(default, deserialize_with = "known")]
    pub action: Option<Action>,
}

/// The kind of a concern, with its details. `why` is always text from elsewhere: the system, a drone or
/// an admin.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ConcernKind {
    /// Cannot append to the journal in this directory, or in Redis.
    JournalUnwritable { at: Option<String>, why: String },
    /// The journal was rolled back: a drone was assigned the attempt `seen`, but it ended at `last`.
    JournalRolledBack { drone: Name, seen: AttemptId, last: AttemptId },
    /// Publishing fails.
    PublishingFails { at: String, why: String },
    /// A directory of the orchestrator is not writable.
    DirectoryUnwritable { place: String, at: String, why: String },
    /// A disk of the orchestrator is nearly full.
    DiskNearlyFull { at: String, free_mib: u64 },
    /// A new TLS certificate cannot be used.
    CertificateUnusable { file: String, why: String },
    /// The TLS certificate has expired, on this day.
    CertificateExpired { file: String, on: String },
    /// It expires soon.
    CertificateExpires { file: String, on: String, days: i64 },
    /// A pass failed; if it has ended, it is not retried.
    PassFails { pass: String, ended: bool, why: String },
    /// Notifications to a sink cannot be delivered.
    SinkFails { sink: String, waiting: u64, why: String },
    /// An upstream cache of a Nix profile cannot be asked what it has.
    UpstreamAway { url: String, why: String },
    /// An audit found damage.
    StoreDamaged { faults: u64, first: String },
    /// A record of the orchestrator's own was damaged. It was set aside, and a new one begun.
    RecordDamaged { record: RecordKind, file: String, aside: String },
    /// Packages are signed with another key than before. `file` holds the previous one (fingerprint or public
    /// keys) until an admin removes it.
    SigningKeyChanged { clients: BuilderKind, before: String, now: String, file: String },

    /// No online drone can make the plan of a run.
    PlanWaits { run: RunId, profile: Name, remedy: Remedy },
    /// No online drone can build for a run.
    RunStandsStill { run: RunId, profile: Name, remedy: Remedy },
    /// A drone's toolchain differs from the one that a run was planned with.
    ToolchainDiffers { drone: Name, run: RunId, profile: Name, part: String, planned: String, own: String },
    /// A drone's processor lacks what a run's packages need to run: an x86-64 level or CPU flags.
    ProcessorLacks { drone: Name, run: RunId, profile: Name, lacking: Vec<String> },
    /// No drone of a profile can build some packages of a run: no drone is of this system or, if there are
    /// features, no drone of the system (of any system, if it is empty) has them. Names the first package and
    /// the number of others.
    NoSuchMachine {
        run: RunId,
        profile: Name,
        system: String,
        features: Vec<String>,
        package: PackageId,
        title: String,
        others: u64,
    },
    /// The last run of a profile failed.
    RunFailed { run: RunId, profile: Name, why: String },
    /// Quarantined packages: the first, how many have the same error, how many others there are, and
    /// how many packages wait for them.
    PackagesQuarantined {
        run: RunId,
        profile: Name,
        package: PackageId,
        title: String,
        alike: u64,
        others: u64,
        blocked: u64,
        why: String,
    },
    /// Packages that are not published because they cannot be installed together with others: the first.
    FilesCollide {
        profile: Name,
        package: PackageId,
        cpv: Cpv,
        beside: Cpv,
        /// The first of the paths that both install.
        paths: Vec<String>,
        path_count: u64,
        /// Or the sonames that `beside` needs and that `cpv` lost.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lost: Vec<String>,
        /// Or the sonames that `cpv` needs and that `beside` lost.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        needs: Vec<String>,
        others: u64,
    },
    /// Packages that the resolver rejected or attributes that Nix could not evaluate: the first.
    ResolverRefused {
        run: RunId,
        profile: Name,
        atoms: Vec<String>,
        others: u64,
        why: String,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        evaluation: bool,
    },

    /// A run was due and has not started.
    RunOverdue { profile: Name, late_ms: u64 },
    /// A due run was skipped because the previous one is still active.
    RunSkipped { profile: Name, ago_ms: u64, next_in_ms: u64, why: String },
    /// No run of a profile has succeeded for longer than two of its periods.
    NoSuccess { profile: Name, for_ms: u64, period_ms: u64, next_in_ms: u64, last: Option<LastRun> },
    /// Work is waiting while a drone that could do it is idle; `packages` is 0 if it is a plan.
    DroneIdle {
        run: RunId,
        profile: Name,
        drone: Name,
        packages: u64,
        for_ms: u64,
        asks: bool,
        why: Option<String>,
    },
    /// The swarm is paused.
    Paused { for_ms: u64, why: String },
    /// A stable channel stays at a generation, with the content of an earlier one after a rollback, and
    /// its runs lead to another: the newest of them.
    ChannelHeld { profile: Name, generation: u64, like: Option<u64>, staged: Option<RunId> },
    /// A profile keeps its content: a run could not serve everything with the candidate, or no candidate
    /// could be made.
    CandidateRefused { profile: Name, run: Option<RunId>, source: String, stays: String, why: String },
    /// The timer that updates a profile has not run for longer than two of its periods.
    TimerSilent { profile: Name, machine: Name, for_ms: u64, every_ms: u64 },

    /// The update of a base failed.
    BaseStays { base: Name, generation: u64, run: RunId, why: String },
    /// No online drone can update a base.
    BaseWaits { base: Name, run: RunId },

    /// Many drones went silent together; the orchestrator's own network is the likely cause.
    DronesCutOff { silent: Vec<Name>, of: u64 },
    /// Healing gave up on a drone.
    DroneLost { drone: Name, why: String },
    /// A drone is grounded.
    DroneGrounded { drone: Name, for_ms: u64, why: String },
    /// A drone has enough strikes to be grounded but is the last one that can build.
    DroneStruck { drone: Name, strikes: u64, why: String },
    /// A drone is silent: the last healing step, a description of the next one, and whether a reboot
    /// needs confirmation.
    DroneOffline {
        drone: Name,
        offline: Offline,
        last: Option<LastStep>,
        healing: Option<String>,
        asks: bool,
    },
    /// Another machine uses a drone's credential.
    CredentialCloned { drone: Name, why: String },
    /// A drone cannot build at all.
    DroneUnusable { drone: Name, why: String },
    /// A drone lacks programs to build in its own system.
    ProgramsMissing { drone: Name, programs: Vec<String> },
    /// A drone cannot upload its results.
    DeliveryStuck { drone: Name, title: String, for_ms: u64, why: String },
    /// A drone waits for an admin's approval: a new one, or one that a restored journal did not know.
    DronePending {
        drone: Name,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        returned: bool,
    },

    /// There is no profile.
    NoProfile,
    /// There is no drone.
    NoDrone,
    /// A kind that this version does not know.
    #[default]
    Unknown,
}

impl ConcernKind {
    /// The name of the kind on the wire, such as `disk_nearly_full`.
    #[must_use]
    pub fn name(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        value["kind"].as_str().unwrap_or_default().to_owned()
    }

    /// The identity of the concern: its kind and subject. The notifier stores it to recognise what it has
    /// sent, so it must never change, however the texts are worded.
    #[must_use]
    pub fn signature(&self) -> String {
        match self {
            Self::JournalUnwritable { .. } => "the journal cannot be written".into(),
            Self::JournalRolledBack { .. } => "the journal was rolled back".into(),
            Self::PublishingFails { .. } => "publishing fails".into(),
            Self::DirectoryUnwritable { place, at, .. } => format!("the {place} {at} cannot be written"),
            Self::DiskNearlyFull { at, .. } => format!("the disk of {at} is nearly full"),
            Self::CertificateUnusable { file, .. } => {
                format!("the TLS certificate {file} cannot be taken over")
            }
            Self::CertificateExpired { file, .. } => {
                format!("the TLS certificate {file} is past its time since #")
            }
            Self::CertificateExpires { file, .. } => {
                format!("the TLS certificate {file} ends in # days, on #")
            }
            Self::PassFails { pass, .. } => format!("the {pass} fails"),
            Self::SinkFails { sink, .. } => format!("notifications to {sink} fail"),
            Self::UpstreamAway { url, .. } => format!("the upstream cache {url} cannot be asked"),
            Self::StoreDamaged { .. } => "something that is kept is damaged".into(),
            Self::RecordDamaged { file, .. } => format!("the record {file} was damaged"),
            Self::SigningKeyChanged { file, .. } => format!("the key before {file} changed"),
            Self::PlanWaits { run, profile, .. } => {
                format!("run {run} of {profile} waits for its plan, and no drone that can make it is online")
            }
            Self::RunStandsStill { run, profile, .. } => format!("run {run} of {profile} stands still"),
            Self::ToolchainDiffers { drone, run, profile, .. }
            | Self::ProcessorLacks { drone, run, profile, .. } => {
                format!("drone {drone} gets no packages of {run} of {profile}")
            }
            Self::NoSuchMachine { profile, system, features, .. } => {
                format!("no drone of {profile} builds for {system} {}", features.join(" "))
            }
            Self::RunFailed { profile, .. } => format!("the last run of {profile} failed"),
            Self::PackagesQuarantined { profile, .. } => format!("packages of {profile} are quarantined"),
            Self::FilesCollide { profile, .. } => format!("packages of {profile} install the same files"),
            Self::ResolverRefused { profile, .. } => {
                format!("the resolver refuses packages of {profile}")
            }
            Self::RunOverdue { profile, .. } => format!("a run of {profile} is overdue"),
            Self::RunSkipped { profile, .. } => format!("a due run of {profile} was not started"),
            Self::NoSuccess { profile, .. } => format!("no run of {profile} succeeds"),
            Self::DroneIdle { run, .. } => format!("drones idle while {run} waits"),
            Self::Paused { .. } => "nothing is handed out in a pause".into(),
            Self::ChannelHeld { profile, .. } => format!("the channel of {profile} is held"),
            Self::CandidateRefused { profile, .. } => format!("the candidate for {profile} is refused"),
            Self::TimerSilent { profile, .. } => format!("the timer of {profile} is silent"),
            Self::BaseStays { base, .. } => format!("base {base} does not follow"),
            Self::BaseWaits { base, run } => {
                format!("base {base} is to follow {run}, and no drone that can make it is online")
            }
            Self::DronesCutOff { .. } => "drones are cut off".into(),
            Self::DroneLost { drone, .. } => format!("drone {drone} is lost"),
            Self::DroneGrounded { drone, .. } => format!("drone {drone} is grounded for # s"),
            Self::DroneStruck { drone, .. } => {
                format!("drone {drone} has # strikes but is the last that can build")
            }
            Self::DroneOffline { drone, .. } => format!("drone {drone} is offline"),
            Self::CredentialCloned { drone, .. } => {
                format!("another machine uses the credential of drone {drone} and is refused")
            }
            Self::DroneUnusable { drone, .. } => format!("drone {drone} cannot build"),
            Self::ProgramsMissing { drone, .. } => format!("drone {drone} cannot build in its own system"),
            Self::DeliveryStuck { drone, .. } => format!("drone {drone} cannot deliver"),
            Self::DronePending { drone, .. } => format!("drone {drone} waits for approval"),
            Self::NoProfile => "there is no profile yet, so there is nothing to build".into(),
            Self::NoDrone => "there is no drone yet, so nothing is built".into(),
            Self::Unknown => String::new(),
        }
    }

    /// Whether the message about the end of a run of profile `of` includes the concern.
    #[must_use]
    pub fn is_covered_by_run_end(&self, of: &Name) -> bool {
        match self {
            Self::RunFailed { profile, .. }
            | Self::PackagesQuarantined { profile, .. }
            | Self::FilesCollide { profile, .. }
            | Self::ResolverRefused { profile, .. } => profile == of,
            _ => false,
        }
    }
}

/// How to continue a run that no drone can work for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Remedy {
    /// Resume a drone that an admin drained.
    Resume { drone: Name },
    /// Resume a drone on its own machine, where it was drained.
    ResumeThere { drone: Name },
    /// Start a drone that builds in its own system.
    StartHost,
    /// Start a drone that builds in images of this architecture.
    StartImage { machine: String },
    /// Start a drone that has Nix.
    StartNix,
}

/// The subject of one of the orchestrator's own records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    /// What was announced, and the messages that wait for sinks.
    Notifications,
    /// The last scrub, and the damage that it found.
    Scrub,
}

/// The last run of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LastRun {
    /// The run.
    pub run: RunId,
    /// Its state.
    pub state: RunState,
    /// The reason; may be empty.
    pub why: String,
}

/// The last step that healing took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LastStep {
    /// The step.
    pub step: HealStep,
    /// How it ended.
    pub outcome: HealOutcome,
    /// The observation; may be empty.
    pub why: String,
}

/// Why a drone counts as away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Offline {
    /// It signed off, with this reason: it was stopped on purpose.
    SignedOff(String),
    /// It is silent.
    Silent {
        /// Duration of the silence when it was noticed, in milliseconds.
        ms: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_another_version_knows_is_read_as_words() {
        let newer = r#"{"fact":{"kind":"moon_is_full","phase":1},"what":"a","next":"b","signature":"c",
            "severity":"warning","action":{"kind":"howl"}}"#;
        let newer: Concern = serde_json::from_str(newer).unwrap();
        assert_eq!((&newer.fact, &newer.action, newer.what.as_str()), (&ConcernKind::Unknown, &None, "a"));
        let older = r#"{"what":"a","next":"b","signature":"c","severity":"warning"}"#;
        assert_eq!(serde_json::from_str::<Concern>(older).unwrap(), newer);
    }

    #[test]
    fn a_signature_tells_whom_it_is_about_and_nothing_that_changes_meanwhile() {
        let grounded = |drone: &str, for_ms, why: &str| {
            let drone = drone.parse().unwrap();
            ConcernKind::DroneGrounded { drone, for_ms, why: why.into() }.signature()
        };
        // Disks of users of older versions contain this signature, so it must not change.
        assert_eq!(grounded("oak", 295_000, "five strikes"), "drone oak is grounded for # s");
        assert_eq!(grounded("oak", 1, "six strikes"), grounded("oak", 295_000, "five strikes"));
        assert_ne!(grounded("elm", 1, "x"), grounded("oak", 1, "x"));
    }
}
