//! The numbers behind the rules. They are configuration, not state: the journal does
//! not keep them, and what they decided stands in the events.

use crate::heal::HealPolicy;

/// Every bound and waiting time of the core. Times are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// An attempt that nobody renewed for this long is lost.
    pub lease_ms: u64,
    /// A drone silent for this long is offline.
    pub offline_after_ms: u64,
    /// After the orchestrator's own start nobody is judged silent for this long.
    pub startup_grace_ms: u64,
    /// Strikes in a row that ground a drone.
    pub strikes_to_ground: u32,
    /// The first grounding lasts this long; each further one twice as long.
    pub ground_ms: u64,
    /// The longest grounding.
    pub ground_max_ms: u64,
    /// Failures of its own (`package`, `timeout`) that quarantine a package.
    pub package_failures: u32,
    /// A source file that no drone could fetch is tried for once more after this time.
    pub fetch_patience_ms: u64,
    /// What is quarantined for a fault of its own is tried again by a run after this time,
    /// though nothing that it is built from has changed; 0 means never.
    pub quarantine_retry_ms: u64,
    /// Failures of any class that quarantine a package.
    pub failures_in_all: u32,
    /// A run may have this many failed attempts more than it has packages. After that
    /// whatever fails is quarantined at once, so that every run ends.
    pub failures_per_run: u32,
    /// Attempts at a plan before its run fails.
    pub plan_attempts: u32,
    /// Waiting time before the second attempt; doubles with each further one.
    pub backoff_ms: u64,
    /// The longest waiting time between attempts.
    pub backoff_max_ms: u64,
    /// Groups of packages (`category/name`) of which at most one is built at a time.
    pub exclusive: Vec<Vec<String>>,
    /// Ended runs kept for each profile.
    pub keep_runs: usize,
    /// The longest pause.
    pub pause_max_ms: u64,
    /// A due run that has not started for this long is an alarm.
    pub due_grace_ms: u64,
    /// Work that stands still for this long while a drone idles is an alarm.
    pub idle_alarm_ms: u64,
    /// A package of a live ebuild whose upstream could not be asked is built anew after this.
    pub live_max_age_ms: u64,
    /// Limits that go out with each assignment.
    pub build_timeout_ms: u64,
    /// The longest silence of a build.
    pub silence_timeout_ms: u64,
    /// The largest log of an attempt in bytes.
    pub log_bytes: u64,
    /// The ladder of healing.
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
            pause_max_ms: 7 * 24 * HOUR,
            due_grace_ms: 5 * MINUTE,
            idle_alarm_ms: 10 * MINUTE,
            live_max_age_ms: 7 * 24 * HOUR,
            build_timeout_ms: 10 * HOUR,
            silence_timeout_ms: HOUR,
            log_bytes: 64 << 20,
            heal: HealPolicy::default(),
        }
    }
}
