//! Why the orchestrator did not start, or did not serve until it was told to stop.

use crate::{
    artifact::disk::DiskError, journal::JournalError, random::RandomError, sign::KeyError,
    state_dir::StateDirError, tls::TlsError, vanished::Vanished,
};
use std::{io, net::SocketAddr};
use swarm_common::config::ConfigError;

/// Why the orchestrator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory is in use or cannot be used.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A key or the journal is gone.
    #[error(transparent)]
    Vanished(#[from] Vanished),
    /// A directory.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The admin's token, or that for metrics.
    #[error("a token or fingerprint of ours: {0}")]
    Token(#[from] ConfigError),
    /// The secret of a notification sink.
    #[error("a notification sink's secret: {0}")]
    Notify(ConfigError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The key that signs.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The TLS certificate.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// Threads.
    #[error("the threads that serve packages cannot be started: {0}; is the limit of threads reached?")]
    Threads(io::Error),
    /// The address.
    #[error("cannot listen on {address}: {source}; is another program there, or is `listen` wrong?")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

/// Why the orchestrator did not serve until it was told to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The engine's thread ended by a defect. What it had answered is in the journal.
    #[error(
        "the engine broke off by a defect, see the log; everything that was answered is in the journal, \
         and a restart goes on from there"
    )]
    EngineBroke,
    /// Somebody else has the journal's lock. Nothing that this process still does counts.
    #[error(
        "another orchestrator leads now: {0}; everything that was answered here is in the journal, and a \
         restart makes this one a standby"
    )]
    Deposed(String),
}

impl StartError {
    /// The program's exit code: 74 for disks, 75 for a state directory that is held, 78 for
    /// what the configuration has to change.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::StateDir(StateDirError::Held { .. }) => 75,
            Self::StateDir(StateDirError::Io { .. })
            | Self::Journal(_)
            | Self::Vanished(_)
            | Self::Disk(_)
            | Self::Random(_)
            | Self::Threads(_) => 74,
            Self::Tls(error) if !error.is_configuration() => 74,
            Self::Tls(_) | Self::Token(_) | Self::Notify(_) | Self::Key(_) | Self::Listen { .. } => {
                swarm_common::config::EXIT_CONFIG
            }
        }
    }
}
