//! Errors of requests to the orchestrator.

use super::retry::is_temporary;
use reqwest::Url;
use std::{fmt, time::Duration};
use swarm_common::wire::problem::Problem;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No orchestrator answered. The request may have arrived nevertheless. Every request may be repeated,
    /// except enrolment without a credential created by the machine.
    #[error("no orchestrator answered: {}", join(tried))]
    Unreachable {
        /// The addresses that were tried, in order.
        tried: Vec<Tried>,
    },
    /// The orchestrator refused the request.
    #[error("{}", describe(.0))]
    Problem(Box<Problem>),
    /// The response is not from this API, or from an incompatible version of it.
    #[error("{}", not_ours(url, *status, what))]
    Protocol {
        url: String,
        /// The HTTP status, if it is an error. Such a response comes from something in between, such as a
        /// proxy, because the orchestrator sends errors as problem documents.
        status: Option<u16>,
        what: String,
    },
    /// Something is wrong on this machine; nothing was sent.
    #[error("{0}")]
    Local(String),
}

/// One address that did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    pub address: Url,
    pub why: String,
    /// Whether there was a response whose certificate is not trusted.
    pub untrusted: bool,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.address.as_str().trim_end_matches('/'), self.why)
    }
}

fn join(tried: &[Tried]) -> String {
    tried.iter().map(Tried::to_string).collect::<Vec<_>>().join("; ")
}

fn not_ours(url: &str, status: Option<u16>, what: &str) -> String {
    let Some(status) = status else {
        return format!("{url} sent a response that this version does not understand: {what}");
    };
    let advice = match status {
        404 => "; check the address and its path",
        413 => "; raise its limit on the request size (nginx: `client_max_body_size 0`)",
        502..=504 => "; it cannot reach the orchestrator or timed out",
        _ => "",
    };
    format!("{url}: HTTP {status} from a proxy or another server in between{advice}{what}")
}

fn describe(problem: &Problem) -> String {
    // The detail is specific to this occurrence and makes the title redundant.
    let text = if problem.detail.is_empty() { &problem.title } else { &problem.detail };
    match &problem.request_id {
        // Only a server-side failure needs the request id to find it in the orchestrator's log.
        Some(id) if problem.status >= 500 => format!("{text} (request {id})"),
        _ => text.clone(),
    }
}

impl ClientError {
    /// The HTTP status, if the orchestrator refused the request.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Problem(problem) => Some(problem.status),
            _ => None,
        }
    }

    /// Whether the same request may succeed later without intervention.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => !self.is_untrusted(),
            Self::Problem(problem) => is_temporary(problem.status) || problem.status == 507,
            Self::Protocol { status, .. } => status.is_some_and(is_temporary),
            Self::Local(_) => false,
        }
    }

    /// How long the orchestrator asks to wait before the request is repeated.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Problem(problem) => problem.retry_after_s.map(Duration::from_secs),
            _ => None,
        }
    }

    /// Whether a caller that follows something should keep trying. Every error may be temporary, except an
    /// untrusted certificate and a refusal by the orchestrator itself (an error from a proxy is not one).
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => !self.is_untrusted(),
            Self::Problem(problem) => problem.status >= 500 || self.is_transient(),
            Self::Protocol { .. } => true,
            Self::Local(_) => false,
        }
    }

    /// Whether every address answered with an untrusted certificate, which only a person can resolve.
    #[must_use]
    pub fn is_untrusted(&self) -> bool {
        match self {
            Self::Unreachable { tried } => !tried.is_empty() && tried.iter().all(|one| one.untrusted),
            _ => false,
        }
    }

    /// Whether the credential is unknown, revoked or lacks permission.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self.status(), Some(401 | 403))
    }
}
