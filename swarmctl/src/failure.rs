//! Failures of commands and their exit codes. The codes are part of the interface and documented in `swarmctl
//! --help`. 69 to 78 are from sysexits.h.

use serde_json::json;
use swarm_client::ClientError;
use swarm_daemon::config::ConfigError;

/// The command failed, or what it checked is not healthy.
pub const FAILED: u8 = 1;
/// The command line is invalid.
pub const USAGE: u8 = 2;
/// No orchestrator answered.
pub const UNREACHABLE: u8 = 69;
/// The command may succeed later.
pub const TRY_AGAIN: u8 = 75;
/// The token was rejected.
pub const DENIED: u8 = 77;
/// The configuration is invalid.
pub const CONFIG: u8 = 78;
/// Interrupted with Ctrl-C, as shells report it.
pub const INTERRUPTED: u8 = 130;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The command line is invalid in a way that the parser cannot detect.
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Failed(String),
    /// Everything has been printed already. Only the exit code remains.
    #[error("")]
    Silent(u8),
}

impl Failure {
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            // The right fingerprint must be configured.
            Self::Client(e) if e.is_untrusted() => CONFIG,
            Self::Client(ClientError::Unreachable { .. }) => UNREACHABLE,
            Self::Client(e) if e.is_denied() => DENIED,
            Self::Client(e) if e.is_transient() => TRY_AGAIN,
            Self::Client(_) | Self::Failed(_) => FAILED,
            Self::Config(_) => CONFIG,
            Self::Usage(_) => USAGE,
            Self::Silent(code) => *code,
        }
    }

    /// Advice that the message itself does not contain, if any.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Client(e) if e.is_untrusted() => {
                Some("compare the fingerprint, then pin it with `swarmctl login URL --fingerprint sha256:…`")
            }
            Self::Client(ClientError::Unreachable { .. }) => Some(
                "check that the orchestrator is running and its address is right; `swarmctl login URL` \
                 sets another",
            ),
            Self::Client(e) if e.status() == Some(401) => {
                Some("log in again: `swarmctl init` on the orchestrator's machine, or `swarmctl login URL`")
            }
            Self::Client(e) if e.is_transient() => Some("try again in a moment"),
            _ => None,
        }
    }

    /// The failure as printed to stderr with `--json`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let problem = match self {
            Self::Client(ClientError::Problem(problem)) => serde_json::to_value(problem).ok(),
            _ => None,
        };
        json!({ "error": { "message": self.to_string(), "exit_code": self.code(), "problem": problem } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_common::wire::problem::Problem;

    fn problem(status: u16) -> Failure {
        ClientError::Problem(Box::new(Problem {
            kind: "/problems/x".into(),
            title: "No".into(),
            status,
            detail: String::new(),
            request_id: None,
            retry_after_s: None,
        }))
        .into()
    }

    #[test]
    fn every_failure_has_its_documented_exit_code() {
        assert_eq!(Failure::from(ClientError::Unreachable { tried: vec![] }).code(), 69);
        for (status, code) in
            [(401, 77), (403, 77), (404, 1), (409, 1), (429, 75), (503, 75), (507, 75), (500, 1)]
        {
            assert_eq!(problem(status).code(), code, "{status}");
        }
        assert_eq!(Failure::Usage(String::new()).code(), 2);
        assert_eq!(Failure::Failed(String::new()).code(), 1);
        let config = ConfigError::Secret { path: "x".into(), what: String::new() };
        assert_eq!(Failure::from(config).code(), 78);
    }
}
