//! The parameters of the rules. They are configuration, not state: the journal does not contain them, but its
//! events record what was decided with them.

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
    /// Number of strikes in a row that ground a drone.
    pub strikes_to_ground: u32,
    /// Duration of the first grounding; each further one is twice as long.
    pub ground_ms: u64,
    /// The maximum duration of a grounding.
    pub ground_max_ms: u64,
    /// Number of failures by the package's own fault (classes `package` and `timeout`) that quarantine it.
    pub package_failures: u32,
    /// Delay after which a source file that no drone could fetch is tried once more.
    pub fetch_patience_ms: u64,
    /// Delay after which a run retries a package quarantined for its own fault although none of its
    /// inputs have changed; 0 means never.
    pub quarantine_retry_ms: u64,
    /// Number of failures of any class that quarantine a package.
    pub failures_in_all: u32,
    /// How many more failed attempts a run may have than it has packages. After that every failure leads to
    /// quarantine at once, so that every run ends.
    pub failures_per_run: u32,
    /// Number of attempts at a plan before its run fails.
    pub plan_attempts: u32,
    /// Delay before the second attempt; it doubles with each further one.
    pub backoff_ms: u64,
    /// The maximum delay between attempts.
    pub backoff_max_ms: u64,
    /// Groups of packages (`category/name`) of which at most one is built at a time.
    pub exclusive: Vec<Vec<String>>,
    /// Number of ended runs kept per profile, and of generations of each channel (at least 2).
    pub keep_runs: usize,
    /// How long the attempts of forgotten runs are kept.
    pub keep_history_ms: u64,
    /// Size limit of a profile's index, in bytes.
    pub index_bytes: u64,
    /// The maximum duration of a pause that an admin may set.
    pub pause_max_ms: u64,
    /// How late a due run may start before an alarm is raised.
    pub due_grace_ms: u64,
    /// How long work may make no progress while a drone is idle before an alarm is raised.
    pub idle_alarm_ms: u64,
    /// Age after which a package of a live ebuild is rebuilt if its upstream could not be queried.
    pub live_max_age_ms: u64,
    /// Time limit of a build, sent with each assignment.
    pub build_timeout_ms: u64,
    /// How long a build may print nothing before it is stopped.
    pub silence_timeout_ms: u64,
    /// The maximum size of an attempt's log, in bytes.
    pub log_bytes: u64,
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
