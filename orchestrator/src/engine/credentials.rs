//! Maps credentials to drones. Every request needs this lookup. It is kept apart from the state, so that
//! requests do not contend with the engine.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};
use swarm_common::{digest::Digest, id::DroneId};
use swarm_core::{Event, Swarm};

/// Drones by the digest of their credential.
pub(super) struct Credentials(RwLock<BTreeMap<Digest, DroneId>>);

impl Credentials {
    pub(super) fn of(swarm: &Swarm) -> Self {
        Self(RwLock::new(all(swarm)))
    }

    /// Reads all credentials again after the whole state was replaced.
    pub(super) fn renew(&self, swarm: &Swarm) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = all(swarm);
    }

    /// Updates the credentials after events were applied to `swarm`. Call this while the state is still
    /// locked.
    pub(super) fn follow<'e>(&self, swarm: &Swarm, mut events: impl Iterator<Item = &'e Event>) {
        if events.any(Event::changes_credentials) {
            self.renew(swarm);
        }
        debug_assert!(self.fit(swarm), "an event changes credentials without declaring it");
    }

    /// The drone with this credential.
    pub(super) fn drone(&self, hash: &Digest) -> Option<DroneId> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(hash).copied()
    }

    fn fit(&self, swarm: &Swarm) -> bool {
        *self.0.read().unwrap_or_else(PoisonError::into_inner) == all(swarm)
    }
}

fn all(swarm: &Swarm) -> BTreeMap<Digest, DroneId> {
    swarm.drones.iter().map(|(&id, drone)| (drone.credential_hash, id)).collect()
}
