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
