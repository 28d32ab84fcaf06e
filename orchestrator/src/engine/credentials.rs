//! Whose a credential is. Every request asks that; were the state asked, requests and the
//! engine, which holds it while it decides, would take turns instead of working side by side.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};
use swarm_common::{digest::Digest, id::DroneId};
use swarm_core::{Event, Swarm};

/// The drones by their credentials, as the state has them.
pub(super) struct Credentials(RwLock<BTreeMap<Digest, DroneId>>);

impl Credentials {
    /// Those of a state.
    pub(super) fn of(swarm: &Swarm) -> Self {
        Self(RwLock::new(all(swarm)))
    }

    /// Brings them up to a state that has become another as a whole.
    pub(super) fn renew(&self, swarm: &Swarm) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = all(swarm);
    }

    /// Brings them up to a state to which these events were applied. To be called before the
    /// state is let go.
    pub(super) fn follow<'e>(&self, swarm: &Swarm, mut events: impl Iterator<Item = &'e Event>) {
        if events.any(Event::changes_credentials) {
            self.renew(swarm);
        }
        debug_assert!(self.fit(swarm), "an event changes credentials and does not say so");
    }

    /// The drone that a credential acts for.
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
