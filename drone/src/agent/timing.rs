//! The agent's intervals and timeouts.

/// Intervals and timeouts of the agent, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    pub heartbeat_ms: u64,
    /// How long the orchestrator may hold a claim open (long poll).
    pub claim_wait_ms: u64,
    /// How long builds may continue after the first stop request.
    pub drain_timeout_ms: u64,
    /// How long a blocked upload is retried before its files are given up.
    pub blocked_ms: u64,
    /// First delay after a failed delivery; doubles with each further failure.
    pub backoff_ms: u64,
    /// Maximum delay between two deliveries.
    pub backoff_max_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat_ms: 10_000,
            claim_wait_ms: 30_000,
            drain_timeout_ms: 3_600_000,
            blocked_ms: 1_800_000,
            backoff_ms: 1_000,
            backoff_max_ms: 60_000,
        }
    }
}
