//! What is wrong, as facts: of what kind it is, what belongs to it, and what an admin can do. What
//! is said of it is made of these, never the other way round.

use super::known;
use crate::{cpv::Cpv, id::*, name::Name, state::*};
use serde::{Deserialize, Serialize};

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Concern {
    /// Of which kind it is, and what belongs to it; `unknown` from an orchestrator of another version.
    #[serde(default, deserialize_with = "known")]
    pub fact: ConcernKind,
    /// What is wrong and why, in one line.
    pub what: String,
    /// What will happen by itself, or what to do.
    pub next: String,
    /// Stays the same as long as the same thing is wrong, whatever counts, times and reasons belong
    /// to it: see [`ConcernKind::signature`].
    pub signature: String,
    /// How much it matters.
    pub severity: Severity,
    /// What an admin can do about it with one command, if anything.
    #[serde(default, deserialize_with = "known")]
    pub action: Option<Action>,
}

/// What is wrong, and what belongs to it. `why` is always in somebody else's words: of the system, a
/// drone, an admin.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
#[allow(missing_docs)] // The names of the fields say what they are.
pub enum ConcernKind {
    /// No event can be appended: to the journal in this directory, or to that in Redis.
    JournalUnwritable { at: Option<String>, why: String },
    /// Nothing is published.
    PublishingFails { at: String, why: String },
    /// A directory of the orchestrator cannot be written.
    DirectoryUnwritable { place: String, at: String, why: String },
    /// A disk of the orchestrator is nearly full.
    DiskNearlyFull { at: String, free_mib: u64 },
    /// A new TLS certificate cannot be used.
    CertificateUnusable { file: String, why: String },
    /// The TLS certificate has expired, on this day.
    CertificateExpired { file: String, on: String },
    /// It expires soon.
    CertificateExpires { file: String, on: String, days: i64 },
    /// A pass could not do its work; if it has ended, it does not try again.
    PassFails { pass: String, ended: bool, why: String },
    /// A sink takes no notifications.
    SinkFails { sink: String, waiting: u64, why: String },
    /// An audit found damage.
    StoreDamaged { faults: u64, first: String },

    /// Nobody can make the plan of a run.
    PlanWaits { run: RunId, profile: Name, remedy: Remedy },
    /// Nobody can build for a run.
    RunStandsStill { run: RunId, profile: Name, remedy: Remedy },
    /// A drone's toolchain is not the one that a run was planned with.
    ToolchainDiffers { drone: Name, run: RunId, profile: Name, part: String, planned: String, own: String },
    /// No drone of a profile can build packages of a run: none is for this system or, if there are features,
    /// none of those for the system (of all, if it is empty) has these. The first package, and how many others.
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
    /// Packages are quarantined: the first, how many have its error, how many others there are, and
    /// how many wait for any of them.
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
    /// Packages are not published, as they install the same paths as others: the first.
    FilesCollide {
        profile: Name,
        package: PackageId,
        cpv: Cpv,
        beside: Cpv,
        paths: Vec<String>,
        path_count: u64,
        others: u64,
    },
    /// The resolver refused something, or Nix could not evaluate an attribute: the first.
    ResolverRefused {
        run: RunId,
        profile: Name,
        atoms: Vec<String>,
        others: u64,
        why: String,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        evaluation: bool,
    },

    /// A run was due, and nobody has acted upon it.
    RunOverdue { profile: Name, late_ms: u64 },
    /// A due run was not started, as the one before goes on.
    RunSkipped { profile: Name, ago_ms: u64, next_in_ms: u64, why: String },
    /// No run of a profile has succeeded for longer than two of its periods.
    NoSuccess { profile: Name, for_ms: u64, period_ms: u64, next_in_ms: u64, last: Option<LastRun> },
    /// Work is needed while a drone that could do it idles; `packages` is 0 if it is the plan.
    DroneIdle {
        run: RunId,
        profile: Name,
        drone: Name,
        packages: u64,
        for_ms: u64,
        asks: bool,
        why: Option<String>,
    },
    /// Nothing is handed out, for a while.
    Paused { for_ms: u64, why: String },

    /// A base could not be brought up to what a run has built.
    BaseStays { base: Name, generation: u64, run: RunId, why: String },
    /// Nobody can bring a base up to that.
    BaseWaits { base: Name, run: RunId },

    /// So many drones fell silent together that it is probably the orchestrator's own network.
    DronesCutOff { silent: Vec<Name>, of: u64 },
    /// Healing gave a drone up.
    DroneLost { drone: Name, why: String },
    /// A drone gets nothing for a while.
    DroneGrounded { drone: Name, for_ms: u64, why: String },
    /// A drone would be grounded if it were not the last that can build.
    DroneStruck { drone: Name, strikes: u64, why: String },
    /// A drone is silent: what healing did last, what it does next in its own words, and whether it
    /// asks for a reboot.
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
    /// A drone cannot build in its own system, as programs are missing.
    ProgramsMissing { drone: Name, programs: Vec<String> },
    /// What a drone built does not get through.
    DeliveryStuck { drone: Name, title: String, for_ms: u64, why: String },
    /// A drone waits for an admin's approval.
    DronePending { drone: Name },

    /// There is no profile.
    NoProfile,
    /// There is no drone.
    NoDrone,
    /// Something that only another version knows.
    #[default]
    Unknown,
}

impl ConcernKind {
    /// The same as long as the same thing is wrong: it tells the kind and what it is about, and
    /// nothing else. The notifier keeps it on disk and knows by it what was told, so it never changes,
    /// however the sentences about it are worded: those are not made here.
    #[must_use]
    pub fn signature(&self) -> String {
        match self {
            Self::JournalUnwritable { .. } => "the journal cannot be written".into(),
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
            Self::StoreDamaged { .. } => "something that is kept is damaged".into(),
            Self::PlanWaits { run, profile, .. } => {
                format!("run {run} of {profile} waits for its plan, and no drone that can make it is online")
            }
            Self::RunStandsStill { run, profile, .. } => format!("run {run} of {profile} stands still"),
            Self::ToolchainDiffers { drone, run, profile, .. } => {
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
            Self::DronePending { drone } => format!("drone {drone} waits for approval"),
            Self::NoProfile => "there is no profile yet, so there is nothing to build".into(),
            Self::NoDrone => "there is no drone yet, so nothing is built".into(),
            Self::Unknown => String::new(),
        }
    }

    /// Whether the message that tells the end of a profile's run tells it anyway.
    #[must_use]
    pub fn is_told_by_the_end_of_a_run(&self, of: &Name) -> bool {
        match self {
            Self::RunFailed { profile, .. }
            | Self::PackagesQuarantined { profile, .. }
            | Self::FilesCollide { profile, .. }
            | Self::ResolverRefused { profile, .. } => profile == of,
            _ => false,
        }
    }
}

/// What gets a run going again for which no drone can work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
#[allow(missing_docs)] // As above.
pub enum Remedy {
    /// To resume a drone that an admin drained.
    Resume { drone: Name },
    /// To resume a drone on its own machine, where it was drained.
    ResumeThere { drone: Name },
    /// To start a drone that builds in its own system.
    StartHost,
    /// To start one that builds in images for machines of this kind.
    StartImage { machine: String },
    /// To start one that has Nix.
    StartNix,
}

/// The last run of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LastRun {
    /// Which.
    pub run: RunId,
    /// Where it stands.
    pub state: RunState,
    /// Why it does; may be empty.
    pub why: String,
}

/// The last step that healing took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LastStep {
    /// Which.
    pub step: HealStep,
    /// How it ended.
    pub outcome: HealOutcome,
    /// What was seen; may be empty.
    pub why: String,
}

/// Why a drone counts as away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Offline {
    /// It said goodbye, and this is why: it is off because somebody wants it so.
    SignedOff(String),
    /// Nothing was heard of it.
    Silent {
        /// For so many milliseconds when it was noticed.
        ms: u64,
    },
}

/// What an admin can do about something: a command line, or a button.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
#[allow(missing_docs)] // As above.
pub enum Action {
    /// To make a profile.
    AddProfile,
    /// To make a token with which a machine enrols.
    IssueToken,
    /// To let a drone work.
    ApproveDrone { drone: Name },
    /// To let it work again.
    ResumeDrone { drone: Name },
    /// To have its machine rebooted.
    ConfirmReboot { drone: Name },
    /// To let its machine be rebooted again.
    UnprotectDrone { drone: Name },
    /// To start a run.
    StartRun { profile: Name },
    /// To look at a run.
    ShowRun { run: RunId },
    /// To read the log of an attempt at a run's plan or base.
    ShowAttempt { run: RunId, attempt: AttemptId },
    /// To look at a package.
    ShowPackage { package: PackageId },
    /// To read a package's log.
    ShowLog { package: PackageId },
    /// To have a package tried again.
    RetryPackage { package: PackageId },
    /// To bring a base's next generation.
    UpdateBase { base: Name },
    /// To have a base follow the tree, from now on and what it missed.
    FollowBase { base: Name },
    /// To look at all that is kept.
    VerifyStore,
}

impl Action {
    /// The command line that does it.
    #[must_use]
    pub fn command(&self) -> String {
        match self {
            Self::AddProfile => "swarmctl profile add NAME --from DIR".into(),
            Self::IssueToken => "swarmctl drone token".into(),
            Self::ApproveDrone { drone } => format!("swarmctl drone approve {drone}"),
            Self::ResumeDrone { drone } => format!("swarmctl drone resume {drone}"),
            Self::ConfirmReboot { drone } => format!("swarmctl drone confirm-reboot {drone}"),
            Self::UnprotectDrone { drone } => format!("swarmctl drone unprotect {drone}"),
            Self::StartRun { profile } => format!("swarmctl run start {profile}"),
            Self::ShowRun { run } => format!("swarmctl run show {run}"),
            Self::ShowAttempt { run, attempt } => format!("swarmctl logs {run} --attempt {attempt}"),
            Self::ShowPackage { package } => format!("swarmctl why {package}"),
            Self::ShowLog { package } => format!("swarmctl logs {package}"),
            Self::RetryPackage { package } => format!("swarmctl retry {package}"),
            Self::UpdateBase { base } => format!("swarmctl base update {base}"),
            Self::FollowBase { base } => format!("swarmctl base update {base} --follow"),
            Self::VerifyStore => "swarmctl audit verify".into(),
        }
    }
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
        // On the disks of those who have run an older version: it must not become another.
        assert_eq!(grounded("oak", 295_000, "five strikes"), "drone oak is grounded for # s");
        assert_eq!(grounded("oak", 1, "six strikes"), grounded("oak", 295_000, "five strikes"));
        assert_ne!(grounded("elm", 1, "x"), grounded("oak", 1, "x"));
    }
}
