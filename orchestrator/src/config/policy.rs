//! The `[policy]` section: parameters of the core's rules.

use serde::Deserialize;
use swarm_core::Policy;
use swarm_daemon::config::{Size, Span};

macro_rules! overrides {
    (
        spans { $($(#[$span_doc:meta])* $span:ident => $span_ms:ident,)+ }
        sizes { $($(#[$size_doc:meta])* $size:ident => $size_bytes:ident,)+ }
        others { $($(#[$doc:meta])* $field:ident: $type:ty,)+ }
    ) => {
        /// `[policy]`: parameters of the core's rules. A missing setting keeps its default, which
        /// the annotated example shows.
        #[derive(Debug, Clone, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct PolicyOverrides {
            $($(#[$span_doc])* pub $span: Option<Span>,)+
            $($(#[$size_doc])* pub $size: Option<Size>,)+
            $($(#[$doc])* pub $field: Option<$type>,)+
        }

        impl PolicyOverrides {
            /// The default policy with these overrides.
            #[must_use]
            pub fn policy(&self) -> Policy {
                let default = Policy::default();
                Policy {
                    $($span_ms: self.$span.map_or(default.$span_ms, Span::millis),)+
                    $($size_bytes: self.$size.map_or(default.$size_bytes, Size::bytes),)+
                    $($field: match &self.$field {
                        Some(set) => set.to_owned(),
                        None => default.$field,
                    },)+
                    ..default
                }
            }
        }
    };
}

overrides! {
    spans {
        /// Time without a renewal after which an attempt is lost.
        lease => lease_ms,
        /// Silence after which a drone is offline.
        offline_after => offline_after_ms,
        /// Time after a start during which no drone is judged silent.
        startup_grace => startup_grace_ms,
        /// Duration of the first grounding; doubles with each further one.
        ground => ground_ms,
        /// Duration of the longest grounding.
        ground_max => ground_max_ms,
        /// Delay after which a source file that no drone could fetch is tried once more.
        fetch_patience => fetch_patience_ms,
        /// After how long a run retries an unchanged package that an earlier run quarantined; 0 means
        /// never.
        quarantine_retry => quarantine_retry_ms,
        /// Delay before the second attempt; doubles with each further one.
        backoff => backoff_ms,
        /// The longest delay between attempts.
        backoff_max => backoff_max_ms,
        /// How long attempts are kept whose run is forgotten.
        keep_history => keep_history_ms,
        /// The longest pause.
        pause_max => pause_max_ms,
        /// Time after which a due run that has not started raises an alarm.
        due_grace => due_grace_ms,
        /// Time after which work that is stalled while a drone is idle raises an alarm.
        idle_alarm => idle_alarm_ms,
        /// Age after which a live package is rebuilt if its upstream does not answer.
        live_max_age => live_max_age_ms,
        /// The longest time that a build may take.
        build_timeout => build_timeout_ms,
        /// The longest time that a build may print nothing.
        silence_timeout => silence_timeout_ms,
    }

    sizes {
        /// Largest log of an attempt.
        log_size => log_bytes,
    }

    others {
        /// Consecutive strikes that ground a drone.
        strikes_to_ground: u32,
        /// Failures caused by a package itself after which it is quarantined.
        package_failures: u32,
        /// Failures of any kind after which a package is quarantined.
        failures_in_all: u32,
        /// Failed attempts that a run may have beyond one per package; after that nothing is retried.
        failures_per_run: u32,
        /// Attempts at a plan before the run fails.
        plan_attempts: u32,
        /// Groups of packages (`category/name`) of which only one is built at a time.
        exclusive: Vec<Vec<String>>,
        /// Ended runs to keep per profile.
        keep_runs: usize,
    }
}
