//! What is asked of a running drone, and why it ends otherwise than asked.

use crate::enrol::EnrolError;

/// What a person or a supervisor asks of the drone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// To stop; the second time without waiting for a build.
    Stop,
    /// To take no further work.
    Pause,
    /// To take work again.
    Resume,
}

impl Ask {
    /// What is asked, as it reads after "asked to".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Pause => "take no further work",
            Self::Resume => "take work again",
        }
    }
}

/// Why a drone ended otherwise than asked.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not enrol.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// Its directories cannot be used.
    #[error("{path} cannot be used: {source}")]
    Io {
        /// What.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is set up so that nothing can be built.
    #[error("{0}")]
    Unfit(String),
    /// It is no drone of the swarm: an admin removed it, or it has another drone's credential.
    #[error("{0}; to enrol this machine, remove {1} and make a new token with `swarmctl drone token`")]
    Refused(String, String),
    /// A part of the drone broke off. Nothing of the spool is lost; a start goes on with it.
    #[error("a part of the drone broke off, which is an error in it: {0}")]
    Broken(tokio::task::JoinError),
}
