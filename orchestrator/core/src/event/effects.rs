//! Properties of events: whether one is stored, and what it may change.

use super::Event;
use crate::{reason::Reason, state::DueOutcome};
use swarm_common::{
    id::{AttemptId, DroneId, PackageId},
    wire::concern::Offline,
};

impl Event {
    /// The event that a drone is away.
    #[must_use]
    pub fn offline(drone: DroneId, why: Offline) -> Self {
        Self::DroneWentOffline { drone, words: None, why: Some(why) }
    }

    /// Why it happened. `None` for kinds without a reason or with one of their own form, and if no reason was
    /// given.
    #[must_use]
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::DroneDrained { reason, .. }
            | Self::DroneStruck { reason, .. }
            | Self::StrikesForgiven { reason, .. }
            | Self::DroneGrounded { reason, .. }
            | Self::DroneLost { reason, .. }
            | Self::RebootWanted { reason, .. }
            | Self::BaseNeeded { reason, .. }
            | Self::BaseFollowEnded { reason, .. }
            | Self::CandidateRefused { why: reason, .. }
            | Self::DueHandled { outcome: DueOutcome::Skipped(reason), .. }
            | Self::PauseEnded { reason }
            | Self::PlanNeeded { reason, .. }
            | Self::PackageNeeded { reason, .. }
            | Self::PackageQuarantined { reason, .. }
            | Self::PackageHeld { reason, .. }
            | Self::AttemptHandedBack { reason, .. }
            | Self::AttemptLost { reason, .. } => Some(reason),
            Self::HealStepEnded { detail: reason, .. }
            | Self::PauseBegun { reason, .. }
            | Self::RunEnded { reason, .. }
            | Self::RebuildWanted { reason, .. } => reason.as_ref(),
            _ => None,
        }
    }

    /// The package and the attempt that the event is about, as far as it names them.
    pub(crate) fn subjects(&self) -> (Option<PackageId>, Option<AttemptId>) {
        match self {
            Self::PackageDelegated { package, attempt, .. }
            | Self::PackageReceived { package, attempt, .. } => (Some(*package), Some(*attempt)),
            Self::PackageReused { package, .. }
            | Self::PackageNeeded { package, .. }
            | Self::PackageQuarantined { package, .. }
            | Self::PackageHeld { package, .. }
            | Self::PackageReleased { package, .. } => (Some(*package), None),
            Self::AttemptPhaseReached { attempt, .. } | Self::AttemptRevived { attempt } => {
                (None, Some(*attempt))
            }
            _ => (None, self.ends()),
        }
    }

    /// The attempt that this event ends without a result, if any.
    #[must_use]
    pub fn ends(&self) -> Option<AttemptId> {
        match self {
            Self::AttemptFailed { attempt, .. }
            | Self::AttemptRejected { attempt, .. }
            | Self::AttemptHandedBack { attempt, .. }
            | Self::AttemptLost { attempt, .. } => Some(*attempt),
            _ => None,
        }
    }

    /// Whether the event changes the contents of the binary package host of a run's profile.
    #[must_use]
    pub fn changes_index(&self) -> bool {
        matches!(
            self,
            Self::RunStarted { .. }
                | Self::RunReopened { .. }
                | Self::PackageReused { .. }
                | Self::PackageReceived { .. }
        )
    }

    /// Whether the event may change the contents of any binary package host. False for events that
    /// concern only drones, attempts, or packages not received.
    #[must_use]
    pub fn affects_channels(&self) -> bool {
        let only_tells = matches!(
            self,
            Self::PackageDelegated { .. }
                | Self::PackageNeeded { .. }
                | Self::PackageQuarantined { .. }
                | Self::PackageHeld { .. }
                | Self::CollisionsFound { .. }
                | Self::AttemptPhaseReached { .. }
                | Self::AttemptFailed { .. }
                | Self::AttemptHandedBack { .. }
                | Self::DroneReturned { .. }
                | Self::GenerationPinned { .. }
                | Self::GenerationUnpinned { .. }
                | Self::ClockSet { .. }
        );
        self.is_durable() && !only_tells
    }

    /// Whether the event changes which drones are known, or their credentials.
    #[must_use]
    pub fn changes_credentials(&self) -> bool {
        matches!(self, Self::DroneEnrolled { .. } | Self::DroneRemoved { .. })
    }

    /// Whether the journal stores the event.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        !matches!(
            self,
            Self::StoodStill { .. }
                | Self::DroneSeen { .. }
                | Self::LeasesRenewed { .. }
                | Self::DroneWaits { .. }
                | Self::DroneCloned { .. }
                | Self::RollbackFound { .. }
        )
    }
}
