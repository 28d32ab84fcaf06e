//! The times that an agent keeps.

/// Times that the agent keeps, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats.
    pub heartbeat_ms: u64,
    /// How long a claim may wait at the orchestrator.
    pub claim_wait_ms: u64,
    /// How long the first stop lets a build go on.
    pub drain_timeout_ms: u64,
    /// How long files are tried that something on the way does not let through.
    pub blocked_ms: u64,
    /// First waiting time after something could not be delivered; doubles each time.
    pub backoff_ms: u64,
    /// The longest such waiting time.
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
