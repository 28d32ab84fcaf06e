//! Two copies of the state, so that readers never wait for a decision.
//!
//! Readers use one copy while the engine decides on the other. Once the decisions are in the journal the
//! copies are swapped, and the same records are applied to the other one. This works because only events
//! change the state, and they do so deterministically. It costs the memory of a second state, except for what
//! both share ([`swarm_core::shared`]), and applying each event twice.

use std::sync::{
    PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError,
    atomic::{AtomicUsize, Ordering},
};
use swarm_core::Swarm;

pub(super) struct DoubleBuffer {
    sides: [RwLock<Swarm>; 2],
    front: AtomicUsize,
}

impl DoubleBuffer {
    /// Creates both copies from one state.
    pub(super) fn of(swarm: Swarm) -> Self {
        Self { sides: [RwLock::new(swarm.clone()), RwLock::new(swarm)], front: AtomicUsize::new(0) }
    }

    /// The copy for readers: exactly what is in the journal. Returns without waiting. Do not hold it for
    /// long: the engine needs this copy again after its next batch.
    pub(super) fn front(&self) -> RwLockReadGuard<'_, Swarm> {
        loop {
            match self.sides[self.front.load(Ordering::Acquire)].try_read() {
                Ok(swarm) => return swarm,
                Err(TryLockError::Poisoned(swarm)) => return swarm.into_inner(),
                // The copies were swapped at this moment.
                Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
            }
        }
    }

    /// The copy to decide on. Waits for readers that took it while it was in front.
    pub(super) fn back(&self) -> RwLockWriteGuard<'_, Swarm> {
        let back = 1 - self.front.load(Ordering::Acquire);
        self.sides[back].write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Swaps the copies, then brings the other one up to date.
    pub(super) fn swap_and_sync(&self, catch_up: impl FnOnce(&mut Swarm, &Swarm)) {
        self.swap();
        self.sync(catch_up);
    }

    /// Swaps the copies, so that readers use the one that was in the back.
    pub(super) fn swap(&self) {
        self.front.fetch_xor(1, Ordering::AcqRel);
    }

    /// Brings the back copy up to date. `catch_up` gets the back and the front copy.
    pub(super) fn sync(&self, catch_up: impl FnOnce(&mut Swarm, &Swarm)) {
        let mut back = self.back();
        let front = self.front();
        catch_up(&mut back, &front);
        debug_assert!(*back == *front, "replaying the same events led to different states");
    }
}
