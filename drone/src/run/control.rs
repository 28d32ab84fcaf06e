//! Requests to a running drone, and the errors that end it.

use crate::enrol::EnrolError;
use swarm_common::exit::{EXIT_CONFIG, EXIT_REFUSED};

/// A request from a user or the service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlRequest {
    /// Stop; the second request does not wait for builds.
    Stop,
    Pause,
    Resume,
}

impl ControlRequest {
    /// The request, as the text after "asked to".
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Pause => "take no new work",
            Self::Resume => "take work again",
        }
    }
}

/// Why a drone ended without a request.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// A directory cannot be used.
    #[error("cannot use {path}: {source}")]
    Io { path: String, source: std::io::Error },
    /// The configuration does not allow any builds.
    #[error("{0}")]
    Unfit(String),
    /// The orchestrator rejects the credential permanently: an admin removed the drone, or the credential
    /// belongs to another machine.
    #[error("{0}; the credential is in {1}")]
    Refused(String, String),
    /// A task panicked. The spool is intact and is delivered after a restart.
    #[error("internal error: a task of the drone panicked: {0}")]
    Broken(tokio::task::JoinError),
}

impl RunError {
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Enrol(error) => error.exit_code(),
            Self::Unfit(_) => EXIT_CONFIG,
            Self::Refused(..) => EXIT_REFUSED,
            Self::Io { .. } | Self::Broken(_) => 1,
        }
    }
}
