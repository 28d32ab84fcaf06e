//! Points in time as integer milliseconds, so that journal, wire format and core agree exactly.

use serde::{Deserialize, Serialize};
use std::ops::{Add, Sub};

/// Milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct TimeMs(pub u64);

impl TimeMs {
    /// The time from `earlier` to `self` in milliseconds; 0 if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: TimeMs) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whole seconds since the Unix epoch, for file formats and HTTP.
    #[must_use]
    pub fn as_secs(self) -> u64 {
        self.0 / 1000
    }
}

impl Add<u64> for TimeMs {
    type Output = TimeMs;
    /// Adds milliseconds, saturating at the latest time.
    fn add(self, ms: u64) -> TimeMs {
        TimeMs(self.0.saturating_add(ms))
    }
}

impl Sub<u64> for TimeMs {
    type Output = TimeMs;
    /// Subtracts milliseconds, saturating at the epoch.
    fn sub(self, ms: u64) -> TimeMs {
        TimeMs(self.0.saturating_sub(ms))
    }
}

/// A duration in its two largest units: `45 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`.
#[must_use]
pub fn span(seconds: u64) -> String {
    let pair = |big: u64, big_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big} {big_unit}"),
        _ => format!("{big} {big_unit} {small} {small_unit}"),
    };
    match seconds {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3600 => pair(s / 60, "min", s % 60, "s"),
        s @ 3600..86_400 => pair(s / 3600, "h", s % 3600 / 60, "min"),
        s => pair(s / 86_400, "d", s % 86_400 / 3600, "h"),
    }
}
