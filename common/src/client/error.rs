//! Why a request brought no answer that can be used.

use crate::wire::problem::Problem;
use reqwest::Url;
use std::fmt;

/// What can come of a request.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No orchestrator answered. The request may or may not have arrived; all requests
    /// but enrolment may be repeated.
    #[error("no orchestrator answered: {}", join(tried))]
    Unreachable {
        /// What was tried, in this order.
        tried: Vec<Tried>,
    },
    /// The orchestrator refused, and says why.
    #[error("{}", describe(.0))]
    Problem(Box<Problem>),
    /// What answered does not speak this API, or not this version of it.
    #[error("{url} gave an answer that this version does not understand: {what}")]
    Protocol {
        /// The address that was asked.
        url: String,
        /// What was wrong with the answer.
        what: String,
    },
    /// Something on this side is wrong, so nothing was sent.
    #[error("{0}")]
    Local(String),
}

/// One address that did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The orchestrator's address.
    pub address: Url,
    /// Why there was no answer.
    pub why: String,
    /// Something answered, but its certificate is not to be believed.
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

fn describe(problem: &Problem) -> String {
    // The detail says all that the title says, and of this time.
    let said = if problem.detail.is_empty() { &problem.title } else { &problem.detail };
    match &problem.request_id {
        // Only what went wrong over there needs the way into its log.
        Some(id) if problem.status >= 500 => format!("{said} (request {id})"),
        _ => said.clone(),
    }
}

impl ClientError {
    /// The HTTP status, where the orchestrator refused.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Problem(problem) => Some(problem.status),
            _ => None,
        }
    }

    /// Whether the same request may succeed later without anybody doing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => !self.is_untrusted(),
            Self::Problem(problem) => matches!(problem.status, 408 | 425 | 429 | 502..=504 | 507),
            Self::Protocol { .. } | Self::Local(_) => false,
        }
    }

    /// Whether all that answered were certificates that are not to be believed: a person
    /// has to look at that.
    #[must_use]
    pub fn is_untrusted(&self) -> bool {
        match self {
            Self::Unreachable { tried } => !tried.is_empty() && tried.iter().all(|one| one.untrusted),
            _ => false,
        }
    }

    /// Whether the credential is unknown, revoked or not enough.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self.status(), Some(401 | 403))
    }
}

/// An error's message with those of its causes: reqwest's own says little.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let message = error.to_string();
        // Wrappers often repeat their cause.
        if !text.contains(&message) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&message);
        }
        next = error.source();
    }
    text
}
