//! Errors over HTTP: RFC 9457 problem details, `application/problem+json`.

use serde::{Deserialize, Serialize};

/// The credential belongs to a drone that an administrator removed.
pub const DRONE_REMOVED: &str = "drone-removed";
/// The credential belongs to a drone on another machine.
pub const OTHER_MACHINE: &str = "other-machine";

/// An RFC 9457 problem. `kind` (`type` in JSON) is stable; `detail` is for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// A stable identifier of the problem, such as `/problems/stale-attempt`.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short title; the same for all problems of this kind.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, why, and what to do.
    pub detail: String,
    /// The request's ID, as in the orchestrator's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The header `Retry-After` of the response, in seconds. It is no part of the document.
    #[serde(skip)]
    pub retry_after_s: Option<u64>,
}

impl Problem {
    /// Whether the problem ends the drone: only a person can resolve it.
    #[must_use]
    pub fn ends_a_drone(&self) -> bool {
        self.is(DRONE_REMOVED) || self.is(OTHER_MACHINE)
    }

    /// Whether the problem is of this kind, such as `stale-attempt`.
    #[must_use]
    pub fn is(&self, kind: &str) -> bool {
        self.kind.strip_prefix("/problems/") == Some(kind)
    }
}
