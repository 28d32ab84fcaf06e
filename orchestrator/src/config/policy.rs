//! The `[policy]` section: parameters of the core's rules.

use serde::Deserialize;
use swarm_core::Policy;

/// A duration in the configuration: a number with `s`, `min`, `h` or `d`, or `0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(u64);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a number and s, min, h or d, such as 7d");
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit_ms: u64 = match &text[digits.len()..] {
            "" if digits == "0" => 0,
            "s" => 1000,
            "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        number.checked_mul(unit_ms).map(Self).ok_or_else(wrong)
    }
}

macro_rules! overrides {
    ($($(#[$doc:meta])* $field:ident: $type:ty,)+) => {
        /// `[policy]`: parameters of the core's rules. A missing setting keeps its default, which
        /// the annotated example shows.
        #[derive(Debug, Clone, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct PolicyOverrides {
            $($(#[$doc])* pub $field: Option<$type>,)+
            /// After how long a run retries an unchanged package that an earlier run quarantined, such as
            /// `7d`; `0` means never.
            pub quarantine_retry: Option<Span>,
        }

        impl PolicyOverrides {
            /// The default policy with these overrides.
            #[must_use]
            pub fn policy(&self) -> Policy {
                let default = Policy::default();
                Policy {
                    $($field: match &self.$field {
                        Some(set) => set.to_owned(),
                        None => default.$field,
                    },)+
                    quarantine_retry_ms: self.quarantine_retry.map_or(default.quarantine_retry_ms, |s| s.0),
                    ..default
                }
            }
        }
    };
}

overrides! {
    /// Milliseconds without a renewal after which an attempt is lost.
    lease_ms: u64,
    /// Milliseconds of silence after which a drone is offline.
    offline_after_ms: u64,
    /// Milliseconds after a start during which no drone is judged silent.
    startup_grace_ms: u64,
    /// Consecutive strikes that ground a drone.
    strikes_to_ground: u32,
    /// Milliseconds of the first grounding; doubles with each further one.
    ground_ms: u64,
    /// Milliseconds of the longest grounding.
    ground_max_ms: u64,
    /// Failures caused by a package itself after which it is quarantined.
    package_failures: u32,
    /// Milliseconds after which a source file that no drone could fetch is tried once more.
    fetch_patience_ms: u64,
    /// Failures of any kind after which a package is quarantined.
    failures_in_all: u32,
    /// Failed attempts that a run may have beyond one per package; after that nothing is retried.
    failures_per_run: u32,
    /// Attempts at a plan before the run fails.
    plan_attempts: u32,
    /// Milliseconds before the second attempt; doubles with each further one.
    backoff_ms: u64,
    /// Milliseconds of the longest wait between attempts.
    backoff_max_ms: u64,
    /// Groups of packages (`category/name`) of which only one is built at a time.
    exclusive: Vec<Vec<String>>,
    /// Ended runs to keep per profile.
    keep_runs: usize,
    /// Milliseconds of the longest pause.
    pause_max_ms: u64,
    /// Milliseconds after which a due run that has not started raises an alarm.
    due_grace_ms: u64,
    /// Milliseconds after which work that is stalled while a drone is idle raises an alarm.
    idle_alarm_ms: u64,
    /// Milliseconds after which a live package is rebuilt if its upstream does not answer.
    live_max_age_ms: u64,
    /// Milliseconds a build may take.
    build_timeout_ms: u64,
    /// Milliseconds a build may print nothing.
    silence_timeout_ms: u64,
    /// Largest log of an attempt in bytes.
    log_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_number_with_its_unit_or_nothing() {
        for (text, ms) in [("7d", Some(604_800_000)), ("90min", Some(5_400_000)), ("0", Some(0)), ("7", None)]
        {
            assert_eq!(Span::try_from(text.to_owned()).ok(), ms.map(Span), "{text}");
        }
        assert!(Span::try_from(format!("{}d", u64::MAX)).is_err());
    }
}
