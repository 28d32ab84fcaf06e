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

pub(super) struct Pair {
    sides: [RwLock<Swarm>; 2],
    shown: AtomicUsize,
}

impl Pair {
    /// Creates both copies from one state.
    pub(super) fn of(swarm: Swarm) -> Self {
        Self { sides: [RwLock::new(swarm.clone()), RwLock::new(swarm)], shown: AtomicUsize::new(0) }
    }

    /// The copy for readers: exactly what is in the journal. Returns without waiting. Do not hold it for
    /// long: the engine needs this copy again after its next batch.
    pub(super) fn shown(&self) -> RwLockReadGuard<'_, Swarm> {
        loop {
            match self.sides[self.shown.load(Ordering::Acquire)].try_read() {
                Ok(swarm) => return swarm,
                Err(TryLockError::Poisoned(swarm)) => return swarm.into_inner(),
                // The copies were swapped at this moment.
                Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
            }
        }
    }

    /// The copy to decide on. Waits for readers that took it while it was shown.
    pub(super) fn hidden(&self) -> RwLockWriteGuard<'_, Swarm> {
        let hidden = 1 - self.shown.load(Ordering::Acquire);
        self.sides[hidden].write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the hidden copy, then brings the other one up to date.
    pub(super) fn turn(&self, catch_up: impl FnOnce(&mut Swarm, &Swarm)) {
        self.show();
        self.follow(catch_up);
    }

    /// Swaps the copies: shows the one that was hidden.
    pub(super) fn show(&self) {
        self.shown.fetch_xor(1, Ordering::AcqRel);
    }

    /// Brings the hidden copy up to date. `catch_up` gets the hidden copy and the shown one.
    pub(super) fn follow(&self, catch_up: impl FnOnce(&mut Swarm, &Swarm)) {
        let mut hidden = self.hidden();
        let shown = self.shown();
        catch_up(&mut hidden, &shown);
        debug_assert!(*hidden == *shown, "replaying the same events led to different states");
    }
}
