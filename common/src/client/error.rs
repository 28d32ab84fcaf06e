//! Why a request brought no answer that can be used.

use crate::wire::problem::Problem;
use reqwest::Url;
use std::fmt;

/// What can come of a request.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No orchestrator answered. The request may or may not have arrived; all requests but
    /// enrolment without a credential of one's own may be repeated.
    #[error("no orchestrator answered: {}", join(tried))]
    Unreachable {
        /// What was tried, in this order.
        tried: Vec<Tried>,
    },
    /// The orchestrator refused, and says why.
    #[error("{}", describe(.0))]
    Problem(Box<Problem>),
    /// What answered does not speak this API, or not this version of it.
    #[error("{}", not_ours(url, *status, what))]
    Protocol {
        /// The address that was asked.
        url: String,
        /// The status, if it is an error's: something between us and the orchestrator answered in its
        /// place, such as a proxy, as ours come with a problem document.
        status: Option<u16>,
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

fn not_ours(url: &str, status: Option<u16>, what: &str) -> String {
    let Some(status) = status else {
        return format!("{url} gave an answer that this version does not understand: {what}");
    };
    let advice = match status {
        404 => "; is the address right, its path included?",
        413 => "; it takes no body of this size: raise its bound (nginx: `client_max_body_size 0`)",
        502..=504 => "; it does not reach the orchestrator, or waits no longer for it",
        _ => "",
    };
    format!(
        "{url}: something in between, such as a proxy, answered {status} in the orchestrator's place{advice}{what}"
    )
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
            Self::Protocol { status, .. } => matches!(status, Some(408 | 425 | 429 | 502..=504)),
            Self::Local(_) => false,
        }
    }

    /// Whether who watches something is to go on asking: all but the orchestrator's own word, and a
    /// certificate that is not to be believed, may pass. A proxy's answer is not the orchestrator's.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => !self.is_untrusted(),
            Self::Problem(problem) => problem.status >= 500 || self.is_transient(),
            Self::Protocol { .. } => true,
            Self::Local(_) => false,
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
