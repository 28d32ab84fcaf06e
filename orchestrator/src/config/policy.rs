//! `[policy]` of the configuration: the numbers behind the rules of the core.

use serde::Deserialize;
use swarm_core::Policy;

/// A span of time as people write it: a number and `s`, `min`, `h` or `d`, or `0`.
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
        /// `[policy]`: numbers behind the rules; what is absent keeps its default, which
        /// the annotated example shows.
        #[derive(Debug, Clone, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct PolicyOverrides {
            $($(#[$doc])* pub $field: Option<$type>,)+
            /// When a run tries again what an earlier one has quarantined and nothing has
            /// changed of, such as `7d`; `0` means never.
            pub quarantine_retry: Option<Span>,
        }

        impl PolicyOverrides {
            /// The policy with these numbers.
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
    /// Milliseconds after which an attempt that nobody renewed is lost.
    lease_ms: u64,
    /// Milliseconds of silence after which a drone is offline.
    offline_after_ms: u64,
    /// Milliseconds after a start in which nobody is judged silent.
    startup_grace_ms: u64,
    /// Strikes in a row that ground a drone.
    strikes_to_ground: u32,
    /// Milliseconds of the first grounding; each further one is twice as long.
    ground_ms: u64,
    /// Milliseconds of the longest grounding.
    ground_max_ms: u64,
    /// Failures of its own that quarantine a package.
    package_failures: u32,
    /// Milliseconds after which a source file that no drone could fetch is tried for once more.
    fetch_patience_ms: u64,
    /// Failures of any kind that quarantine a package.
    failures_in_all: u32,
    /// Failed attempts that a run may have beyond one for each package; then nothing is retried.
    failures_per_run: u32,
    /// Attempts at a plan before its run fails.
    plan_attempts: u32,
    /// Milliseconds before the second attempt; doubles with each further one.
    backoff_ms: u64,
    /// Milliseconds of the longest wait between attempts.
    backoff_max_ms: u64,
    /// Groups of packages (`category/name`) of which at most one is built at a time.
    exclusive: Vec<Vec<String>>,
    /// Ended runs kept for each profile.
    keep_runs: usize,
    /// Milliseconds of the longest pause.
    pause_max_ms: u64,
    /// Milliseconds after which a due run that has not started is an alarm.
    due_grace_ms: u64,
    /// Milliseconds after which work that stands still while a drone idles is an alarm.
    idle_alarm_ms: u64,
    /// Milliseconds after which a live package whose upstream does not answer is built anew.
    live_max_age_ms: u64,
    /// Milliseconds of the longest build.
    build_timeout_ms: u64,
    /// Milliseconds of a build's longest silence.
    silence_timeout_ms: u64,
    /// Bytes of an attempt's log.
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
