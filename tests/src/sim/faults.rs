//! The faults that a seed injects into its swarm.

use super::{rng::Rng, words::Words};

/// Chances in thousandths, times in milliseconds.
#[derive(Debug, Clone)]
pub struct Faults {
    /// A message is lost.
    pub drop: u64,
    /// A message arrives twice.
    pub double: u64,
    /// A message takes up to a minute instead of up to `latency_ms`.
    pub delay: u64,
    /// Usual maximum latency of a message.
    pub latency_ms: u64,
    /// Mean time between crashes of a drone; 0 means never.
    pub drone_crash_ms: u64,
    /// A build hangs until something ends it.
    pub hang: u64,
    /// A build fails because of the drone.
    pub drone_fault: u64,
    /// A build fails because of the network.
    pub infra_fault: u64,
    /// A package is rejected.
    pub reject: u64,
    /// Mean time between kills of the orchestrator; 0 means never.
    pub orchestrator_kill_ms: u64,
    /// Mean time between failures of the journal; 0 means never.
    pub journal_failure_ms: u64,
    /// The clock of the orchestrator's machine differs after a restart.
    pub clock_jump: u64,
    /// Mean time between changes of that clock while the orchestrator runs; 0 means never.
    pub clock_set_ms: u64,
    /// A drone is asked to stop instead of crashing.
    pub polite_stop: u64,
    /// Mean time between pauses of the swarm; 0 means never.
    pub pause_ms: u64,
    /// Mean time between rollbacks and promotions of the channel; 0 means never.
    pub rollback_ms: u64,
    /// Mean time between restores of the journal from a backup; 0 means never.
    pub restore_ms: u64,
    /// No faults after this time. Then everything must come to rest.
    pub until_ms: u64,
    /// Not a fault: how sentences are worded, in a world that is compared with another one.
    pub words: Option<Words>,
}

impl Faults {
    #[must_use]
    pub fn none() -> Self {
        Self {
            drop: 0,
            double: 0,
            delay: 0,
            latency_ms: 50,
            drone_crash_ms: 0,
            hang: 0,
            drone_fault: 0,
            infra_fault: 0,
            reject: 0,
            orchestrator_kill_ms: 0,
            journal_failure_ms: 0,
            clock_jump: 0,
            clock_set_ms: 0,
            polite_stop: 0,
            pause_ms: 0,
            rollback_ms: 0,
            restore_ms: 0,
            until_ms: 0,
            words: None,
        }
    }

    /// The faults for a seed: each kind is absent, mild or severe. The journal is never restored.
    #[must_use]
    pub fn from(rng: &mut Rng) -> Self {
        let mut some = |high: u64| if rng.chance(600) { rng.range(1, high) } else { 0 };
        Self {
            drop: some(200),
            double: some(200),
            delay: some(50),
            latency_ms: 1 + some(2_000),
            drone_crash_ms: some(20) * 60_000,
            hang: some(30),
            drone_fault: some(100),
            infra_fault: some(100),
            orchestrator_kill_ms: some(20) * 60_000,
            journal_failure_ms: some(20) * 60_000,
            clock_jump: some(1000),
            clock_set_ms: some(20) * 60_000,
            polite_stop: some(600),
            pause_ms: some(40) * 60_000,
            reject: some(50),
            rollback_ms: some(20) * 60_000,
            restore_ms: 0,
            until_ms: 3_600_000,
            words: None,
        }
    }
}
