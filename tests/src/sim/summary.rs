//! The results of a finished world.

use std::collections::BTreeSet;
use swarm_common::{digest::Digest, state::PackageState};
use swarm_core::{Swarm, state::Ending};

/// The results of a world.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Summary {
    pub events: u64,
    pub virtual_ms: u64,
    /// Packages received because they were built.
    pub received: u64,
    /// Nix derivations and sources received, including reused ones.
    pub derivations: u64,
    /// Packages reused from earlier runs.
    pub reused: u64,
    pub quarantined: u64,
    pub attempts: u64,
    /// Attempts among them that had no result although no build failed.
    pub wasted: u64,
    /// Attempts among them that were deliberate duplicates of a late one.
    pub seconds: u64,
    /// Packages that were built although the same package had been received before.
    pub again: u64,
    /// Generations of the base that followed a run.
    pub followed: u64,
    /// Generations that are pinned.
    pub pinned: u64,
    /// How many times the orchestrator was killed.
    pub kills: u64,
    /// How many times its journal was restored from a backup.
    pub restores: u64,
    /// Attempts that began before a restore and were taken back after it.
    pub returned: u64,
    /// Attempts among them that drones kept while there was no run and that a later run received.
    pub kept: u64,
    /// How many times a run that was older but less urgent had to wait.
    pub urgent: u64,
    /// Packages that were reused as soon as another run had received the same one.
    pub shared: u64,
    /// How many times its engine followed the machine's clock.
    pub clocks_set: u64,
    /// Digest of the events and violations without sentences, if the world is compared with another one.
    pub facts: Option<Digest>,
}

impl Summary {
    /// Counts the content of a state.
    pub(super) fn count(&mut self, swarm: &Swarm) {
        let count = |state| swarm.packages.values().filter(|p| p.state == state).count() as u64;
        self.reused = swarm.runs.values().map(|r| r.reused).sum();
        let received = swarm.packages.values().filter(|p| p.state == PackageState::Received);
        let is_nix = received.filter(|p| p.targets.iter().any(|target| target.nix().is_some()));
        self.derivations = is_nix.count() as u64;
        self.received = count(PackageState::Received) - self.reused;
        self.quarantined = count(PackageState::Quarantined);
        self.attempts = swarm.attempts.len() as u64;
        self.returned = swarm.attempts.values().filter(|a| a.returned).count() as u64;
        self.pinned = swarm.profiles.values().map(|profile| profile.pins.len() as u64).sum();
        self.followed = swarm.bases.values().map(|base| base.last_number - 1).sum();
        let ended = |is: fn(&Ending) -> bool| {
            swarm.attempts.values().filter(|a| a.ending.as_ref().is_some_and(is)).count() as u64
        };
        let doubled = swarm.attempts.values().filter(|a| a.duplicate_of.is_some()).count() as u64;
        let superseded = ended(|e| matches!(e, Ending::Superseded));
        let astray = |e: &Ending| matches!(e, Ending::Lost(_) | Ending::HandedBack(_) | Ending::Rejected(_));
        self.wasted = ended(astray) + superseded.saturating_sub(doubled);
        self.seconds = doubled;
        let built = || swarm.packages.values().filter(|p| p.state == PackageState::Received && !p.reused);
        let kinds: BTreeSet<Digest> = built().map(|p| p.build_key).collect();
        self.again = built().count() as u64 - kinds.len() as u64;
    }
}
