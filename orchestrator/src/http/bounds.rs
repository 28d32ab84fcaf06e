//! How much may stand in what is sent: every list and text of a request that the journal keeps or
//! that costs work. Whole bodies have the bounds of [`super::route::Limit`], files those of
//! [`crate::artifact::upload`] and of the package format, plans those of [`swarm_core::plan`].
//!
//! Each refusal is a problem of one type that names the bound. Words of a drone about a failure
//! are not refused but cut, since what it says first counts.

use super::problem::ApiError;

/// A bound.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    /// What is counted.
    what: &'static str,
    /// The most that is taken.
    pub(super) most: usize,
}

const fn at_most(most: usize, what: &'static str) -> Bound {
    Bound { what, most }
}

pub(super) const IDEMPOTENCY_KEY: Bound = at_most(128, "characters of an Idempotency-Key");
pub(super) const CLAIM_KEY: Bound = at_most(64, "characters of a claim's key");
pub(super) const ATTEMPTS: Bound = at_most(1000, "attempts that a heartbeat names");
pub(super) const FACT: Bound = at_most(128, "characters of what a machine is");
pub(super) const PROFILES: Bound = at_most(64, "profiles that a drone builds for");
pub(super) const CPU: Bound = at_most(200, "flags, of 32 characters, of a processor");
pub(super) const MISSING: Bound = at_most(64, "programs or directories that a drone lacks");
pub(super) const MISSING_TEXT: Bound = at_most(512, "characters of what a drone lacks");
pub(super) const TOKEN: Bound = at_most(128, "characters of an enrolment token");
pub(super) const TOKEN_DAYS: Bound = at_most(30, "days that an enrolment token is valid");
pub(super) const SOURCE: Bound = at_most(500, "characters of where something came from");
pub(super) const REASON: Bound = at_most(200, "characters of a reason");
pub(super) const ZONE: Bound = at_most(64, "characters of a time zone");
pub(super) const FILES: Bound = at_most(1000, "files that a report names");

/// Characters of a drone's reason, where it is cut.
pub(super) const DRONE_REASON: usize = 500;
/// Characters of a failure's signature, where it is cut.
pub(super) const SIGNATURE: usize = 200;
/// Bytes of a failure's message, where it is cut.
pub(super) const MESSAGE: usize = 4096;

impl Bound {
    /// Whether so many are taken.
    pub(super) fn check(self, found: usize) -> Result<(), ApiError> {
        if found <= self.most { Ok(()) } else { Err(self.broken()) }
    }

    /// The refusal of more.
    pub(super) fn broken(self) -> ApiError {
        ApiError::Beyond { what: self.what, most: self.most }
    }

    /// Whether a text has so many characters.
    pub(super) fn check_text(self, text: &str) -> Result<(), ApiError> {
        self.check(text.chars().count())
    }
}
