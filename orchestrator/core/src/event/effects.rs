//! Properties of events: whether one is stored, and what it may change.

use super::Event;
use crate::text;
use swarm_common::{
    id::{AttemptId, DroneId},
    wire::concern::Offline,
};

impl Event {
    /// The event that a drone is away. Its text is derived from `why`.
    #[must_use]
    pub fn offline(drone: DroneId, why: Offline) -> Self {
        Self::DroneWentOffline { drone, reason: text::offline(&why), why: Some(why) }
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
