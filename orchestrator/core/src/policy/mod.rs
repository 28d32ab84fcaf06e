//! The parameters of the rules. They are configuration, not state: they are not in the journal, but
//! the events record what was decided with them.

mod heal;

pub use heal::{HealPolicy, Reach, RebootRule};

/// All limits and delays of the core. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Duration of a lease: an attempt not renewed for this long is lost.
    pub lease_ms: u64,
    /// A drone not heard for this long is offline.
    pub offline_after_ms: u64,
    /// Grace time after a start of the orchestrator, in which no drone is considered silent.
    pub startup_grace_ms: u64,
    /// Strikes in a row that ground a drone.
    pub strikes_to_ground: u32,
    /// Duration of the first grounding; each further one is twice as long.
    pub ground_ms: u64,
    /// The longest grounding.
    pub ground_max_ms: u64,
    /// Failures of a package's own (`package`, `timeout`) that quarantine it.
    pub package_failures: u32,
    /// Delay after which a source file that no drone could fetch is tried once more.
    pub fetch_patience_ms: u64,
    /// Delay after which a run retries a package quarantined for its own fault although none of its
    /// inputs have changed; 0 means never.
    pub quarantine_retry_ms: u64,
    /// Failures of any class that quarantine a package.
    pub failures_in_all: u32,
    /// A run may have this many more failed attempts than it has packages. After that every failure
    /// leads to quarantine at once, so that every run ends.
    pub failures_per_run: u32,
    /// Attempts at a plan before its run fails.
    pub plan_attempts: u32,
    /// Delay before the second attempt; doubles with each further one.
    pub backoff_ms: u64,
    /// The longest delay between attempts.
    pub backoff_max_ms: u64,
    /// Groups of packages (`category/name`) of which at most one is built at a time.
    pub exclusive: Vec<Vec<String>>,
    /// Number of ended runs kept per profile, and of generations of its channel (at least 2).
    pub keep_runs: usize,
    /// How long attempts are kept whose run is forgotten.
    pub keep_history_ms: u64,
    /// Size limit of a profile's index, in bytes.
    pub index_bytes: u64,
    /// The longest pause that an admin may set.
    pub pause_max_ms: u64,
    /// A due run that has not started after this time raises an alarm.
    pub due_grace_ms: u64,
    /// Work that makes no progress for this long while a drone is idle raises an alarm.
    pub idle_alarm_ms: u64,
    /// Age after which a package of a live ebuild is rebuilt if its upstream could not be queried.
    pub live_max_age_ms: u64,
    /// Time limit of a build, sent with each assignment.
    pub build_timeout_ms: u64,
    /// The longest time that a build may print nothing.
    pub silence_timeout_ms: u64,
    /// The largest log of an attempt, in bytes.
    pub log_bytes: u64,
    /// Settings of the healing ladder.
    pub heal: HealPolicy,
}

impl Default for Policy {
    fn default() -> Self {
        const SECOND: u64 = 1000;
        const MINUTE: u64 = 60 * SECOND;
        const HOUR: u64 = 60 * MINUTE;
        Self {
            lease_ms: MINUTE,
            offline_after_ms: MINUTE,
            startup_grace_ms: 90 * SECOND,
            strikes_to_ground: 5,
            ground_ms: 5 * MINUTE,
            ground_max_ms: HOUR,
            package_failures: 3,
            fetch_patience_ms: 2 * MINUTE,
            quarantine_retry_ms: 7 * 24 * HOUR,
            failures_in_all: 12,
            failures_per_run: 100,
            plan_attempts: 3,
            backoff_ms: 2 * SECOND,
            backoff_max_ms: 10 * MINUTE,
            exclusive: Vec::new(),
            keep_runs: 10,
            keep_history_ms: 90 * 24 * HOUR,
            index_bytes: 64 << 20,
            pause_max_ms: 7 * 24 * HOUR,
            due_grace_ms: 5 * MINUTE,
            idle_alarm_ms: 10 * MINUTE,
            live_max_age_ms: 20 * HOUR,
            build_timeout_ms: 10 * HOUR,
            silence_timeout_ms: HOUR,
            log_bytes: 64 << 20,
            heal: HealPolicy::default(),
        }
    }
}
