//! Limits on the content of requests: on every list and text that is journaled or expensive to process. Whole bodies are limited by [`super::route::Limit`], files by
//! [`crate::intake::upload`] and the package format, plans by [`swarm_core::plan`].
//!
//! All limits are reported as one kind of problem, which names the limit. A drone's texts about a failure are
//! truncated instead, because the beginning matters most.

use super::problem::ApiError;
use swarm_common::wire::nix::NixMachine;

#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    what: &'static str,
    pub(super) most: usize,
}

const fn at_most(most: usize, what: &'static str) -> Bound {
    Bound { what, most }
}

pub(super) const IDEMPOTENCY_KEY: Bound = at_most(128, "characters of an Idempotency-Key");
pub(super) const CLAIM_KEY: Bound = at_most(64, "characters of a claim's key");
pub(super) const ATTEMPTS: Bound = at_most(1000, "attempts that a heartbeat names");
pub(super) const FACT: Bound = at_most(128, "characters of what a machine is");
pub(super) const FACTS: Bound = at_most(32 << 10, "bytes of all that a drone reports about its machine");
pub(super) const NIX_NAMES: Bound = at_most(NixMachine::MOST, "systems or features of a drone's Nix");
pub(super) const PROFILES: Bound = at_most(64, "profiles that a drone builds for");
pub(super) const CPU: Bound = at_most(200, "flags, of 32 characters, of a processor");
pub(super) const MISSING: Bound = at_most(64, "programs or directories that a drone lacks");
pub(super) const MISSING_TEXT: Bound = at_most(512, "characters of what a drone lacks");
pub(super) const TOKEN: Bound = at_most(128, "characters of an enrolment token");
pub(super) const TOKEN_DAYS: Bound = at_most(30, "days that an enrolment token is valid");
pub(super) const SOURCE: Bound = at_most(500, "characters of where something came from");
pub(super) const REASON: Bound = at_most(200, "characters of a reason");
pub(super) const ZONE: Bound = at_most(64, "characters of a time zone");
pub(super) const REFERENCES: Bound = at_most(100_000, "references of the files of a report");
pub(super) const FILES: Bound = at_most(1000, "files that a report names");

/// A short string takes ten times as much memory as in JSON. A plan has about 100 strings per package.
pub(super) const STRINGS: Bound = at_most(1_500_000, "strings of a report");

/// Characters to which a drone's reason is truncated.
pub(super) const DRONE_REASON: usize = 500;
/// Characters to which a failure's signature is truncated.
pub(super) const SIGNATURE: usize = 200;
/// Bytes to which a failure's message is truncated.
pub(super) const MESSAGE: usize = 4096;

impl Bound {
    /// Checks a number against the limit.
    pub(super) fn check(self, found: usize) -> Result<(), ApiError> {
        if found <= self.most { Ok(()) } else { Err(self.broken()) }
    }

    /// The error for exceeding the limit.
    pub(super) fn broken(self) -> ApiError {
        ApiError::Beyond { what: self.what, most: self.most }
    }

    /// Checks the number of characters of a text.
    pub(super) fn check_text(self, text: &str) -> Result<(), ApiError> {
        self.check(text.chars().count())
    }
}
