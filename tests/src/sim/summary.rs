//! What is left of a world when it is over.

use swarm_common::digest::Digest;

/// What a world was like.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Things that happened.
    pub events: u64,
    /// Virtual milliseconds.
    pub virtual_ms: u64,
    /// Packages received by being built.
    pub received: u64,
    /// Derivations and sources of Nix received, including those taken over.
    pub derivations: u64,
    /// Packages taken over from earlier runs.
    pub reused: u64,
    /// Packages quarantined.
    pub quarantined: u64,
    /// Attempts handed out.
    pub attempts: u64,
    /// Of those, the ones that came to nothing though no build failed.
    pub wasted: u64,
    /// Of those, deliberate seconds beside a late one.
    pub seconds: u64,
    /// Packages built though what they are had been received before.
    pub again: u64,
    /// Generations of the base that followed a run.
    pub followed: u64,
    /// Times the orchestrator was killed.
    pub kills: u64,
    /// Times its engine followed its machine's clock.
    pub clocks_set: u64,
    /// What happened and what was found wrong, without its sentences, if it is compared.
    pub facts: Option<Digest>,
}
