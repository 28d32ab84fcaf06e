//! Rates each kind of concern: its severity, whether work can continue, and the action that an admin can
//! take.

use crate::text;
use swarm_common::{
    state::Severity,
    wire::concern::{Action, Concern, ConcernKind, Remedy},
};

#[must_use]
pub fn concern(fact: ConcernKind) -> Concern {
    let action = action(&fact);
    Concern {
        what: text::concern::what(&fact),
        next: text::concern::next(&fact, action.as_ref()),
        signature: fact.signature(),
        severity: severity(&fact),
        action,
        fact,
    }
}

#[must_use]
pub fn severity(fact: &ConcernKind) -> Severity {
    use ConcernKind::*;
    match fact {
        JournalUnwritable { .. }
        | JournalRolledBack { .. }
        | PublishingFails { .. }
        | DirectoryUnwritable { .. }
        | CertificateUnusable { .. }
        | CertificateExpired { .. }
        | PassFails { .. }
        | SinkFails { .. }
        | StoreDamaged { .. }
        | PlanWaits { .. }
        | RunStandsStill { .. }
        | RunFailed { .. }
        | RunOverdue { .. }
        | NoSuccess { .. }
        | DroneIdle { .. }
        | DronesCutOff { .. }
        | DroneLost { .. }
        | CredentialCloned { .. }
        | DeliveryStuck { .. }
        // Healing has given up, or needs an admin's confirmation.
        | DroneOffline { asks: true, .. } => Severity::Critical,
        DiskNearlyFull { .. }
        | UpstreamAway { .. }
        | RecordDamaged { .. }
        | SigningKeyChanged { .. }
        | CertificateExpires { .. }
        | ToolchainDiffers { .. }
        | ProcessorLacks { .. }
        | NoSuchMachine { .. }
        | PackagesQuarantined { .. }
        | FilesCollide { .. }
        | ResolverRefused { .. }
        | RunSkipped { .. }
        | CandidateRefused { .. }
        | TimerSilent { .. }
        | Paused { .. }
        | ChannelHeld { .. }
        | BaseStays { .. }
        | BaseWaits { .. }
        | DroneGrounded { .. }
        | DroneStruck { .. }
        | DroneOffline { asks: false, .. }
        | DroneUnusable { .. }
        | ProgramsMissing { .. }
        | DronePending { .. }
        | Unknown => Severity::Warning,
        NoProfile | NoDrone => Severity::Info,
    }
}

/// Whether the orchestrator cannot work while the concern lasts.
#[must_use]
pub fn stops(fact: &ConcernKind) -> bool {
    use ConcernKind::*;
    matches!(fact, JournalUnwritable { .. } | PublishingFails { .. } | DirectoryUnwritable { .. })
}

/// The admin's action that resolves the concern or shows more about it, if any.
fn action(fact: &ConcernKind) -> Option<Action> {
    use ConcernKind::*;
    Some(match fact {
        StoreDamaged { .. } => Action::VerifyStore,
        PlanWaits { remedy: Remedy::Resume { drone }, .. }
        | RunStandsStill { remedy: Remedy::Resume { drone }, .. }
        | DroneLost { drone, .. } => Action::ResumeDrone { drone: drone.clone() },
        RunFailed { profile, .. } | NoSuccess { profile, last: None, .. } => {
            Action::StartRun { profile: profile.clone() }
        }
        ResolverRefused { run, .. } | CandidateRefused { run: Some(run), .. } => {
            Action::ShowRun { run: *run }
        }
        NoSuccess { last: Some(last), .. } => Action::ShowRun { run: last.run },
        PackagesQuarantined { package, .. }
        | NoSuchMachine { package, .. }
        | FilesCollide { package, .. } => Action::ShowPackage { package: *package },
        ChannelHeld { profile, .. } => Action::Promote { profile: profile.clone() },
        BaseStays { base, .. } => Action::FollowBase { base: base.clone() },
        DroneOffline { drone, asks: true, .. } => Action::ConfirmReboot { drone: drone.clone() },
        DronePending { drone, .. } => Action::ApproveDrone { drone: drone.clone() },
        NoProfile => Action::AddProfile,
        NoDrone => Action::IssueToken,
        _ => return None,
    })
}
