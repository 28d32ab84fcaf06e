//! What an admin can do about a concern.

use crate::{id::*, name::Name};
use serde::{Deserialize, Serialize};

/// An action for an admin, shown as a command line or a button.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Action {
    /// Create a profile.
    AddProfile,
    /// Create an enrolment token.
    IssueToken,
    /// Approve a drone.
    ApproveDrone { drone: Name },
    /// Resume a drone.
    ResumeDrone { drone: Name },
    /// Confirm the reboot of its machine.
    ConfirmReboot { drone: Name },
    /// Allow reboots of its machine again.
    UnprotectDrone { drone: Name },
    /// Start a run.
    StartRun { profile: Name },
    /// Show a run.
    ShowRun { run: RunId },
    /// Show the log of an attempt at a run's plan or base.
    ShowAttempt { run: RunId, attempt: AttemptId },
    /// Explain a package's state.
    ShowPackage { package: PackageId },
    /// Show a package's log.
    ShowLog { package: PackageId },
    /// Retry a package.
    RetryPackage { package: PackageId },
    /// Let a stable channel follow its runs again.
    Promote { profile: Name },
    /// Update a base to a new generation.
    UpdateBase { base: Name },
    /// Let a base follow the tree, and retry a failed update.
    FollowBase { base: Name },
    /// Verify all stored data.
    VerifyStore,
}

impl Action {
    /// The command line that performs the action.
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
            Self::Promote { profile } => format!("swarmctl channel promote {profile}"),
            Self::UpdateBase { base } => format!("swarmctl base update {base}"),
            Self::FollowBase { base } => format!("swarmctl base update {base} --follow"),
            Self::VerifyStore => "swarmctl audit verify".into(),
        }
    }
}
