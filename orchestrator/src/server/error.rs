//! Errors of starting and serving.

use crate::{
    journal::JournalError,
    missing_state::MissingState,
    random::RandomError,
    sign::KeyError,
    state_dir::StateDirError,
    store::{StoreError, disk::DiskError},
    tls::TlsError,
};
use std::{io, net::SocketAddr};
use swarm_common::exit::{EXIT_CONFIG, EXIT_IO};
use swarm_daemon::config::ConfigError;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory is in use or unusable.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// The journal cannot be opened or read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A key or the journal that existed before is missing.
    #[error(transparent)]
    MissingState(#[from] MissingState),
    /// A directory or file cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The store of packages cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A token or fingerprint file cannot be read or written.
    #[error("own token or fingerprint: {0}")]
    Token(#[from] ConfigError),
    /// A notification sink's secret cannot be read.
    #[error("a notification sink's secret: {0}")]
    Notify(ConfigError),
    /// The system provides no random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The signing key cannot be loaded or created.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The threads that serve packages cannot be started.
    #[error("cannot start the threads that serve packages: {0}; check the limit of threads")]
    Threads(io::Error),
    /// An address cannot be bound.
    #[error(
        "cannot listen on {address}: {source}; check `listen`, and whether another program uses the \
             port"
    )]
    Listen { address: SocketAddr, source: io::Error },
}

/// Why the orchestrator stopped serving without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A bug ended the engine's thread. Everything it had answered is in the journal.
    #[error(
        "internal error: the engine thread panicked, see the log; all acknowledged changes are in the \
         journal, and a restart continues from there"
    )]
    EngineBroke,
    /// Another orchestrator holds the journal's lock. Nothing that this process decides counts any more.
    #[error(
        "another orchestrator is the leader now: {0}; all acknowledged changes are in the journal, and a \
         restart makes this one a standby"
    )]
    Deposed(String),
}

impl StartError {
    /// The exit code of the process: 74 for disks and other system resources, 75 for a state directory in
    /// use, 78 for errors to be fixed in the configuration.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::StateDir(StateDirError::Held { .. }) => 75,
            Self::StateDir(StateDirError::Io { .. })
            | Self::Journal(_)
            | Self::MissingState(_)
            | Self::Disk(_)
            | Self::Store(_)
            | Self::Random(_)
            | Self::Threads(_)
            | Self::Key(KeyError::Disk(_)) => EXIT_IO,
            Self::Tls(error) => error.exit_code(),
            Self::Token(error) | Self::Notify(error) => error.exit_code(),
            Self::Key(_) | Self::Listen { .. } => EXIT_CONFIG,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn a_file_that_cannot_be_read_may_come_and_a_wrong_one_is_for_a_person() {
        let path = || PathBuf::from("/mnt/secret");
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let unreadable = || ConfigError::Unreadable { path: path(), source: gone() };
        let wrong = || ConfigError::Secret { path: path(), what: "is empty".into() };
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let disk = || DiskError::new("read", &path(), gone());
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let table: [(StartError, u8); 12] = [
            (StartError::Token(unreadable()), 74),
            (StartError::Token(ConfigError::Unwritable { path: path(), source: denied }), 74),
            (StartError::Token(wrong()), 78),
            (StartError::Notify(unreadable()), 74),
            (StartError::Notify(wrong()), 78),
            (StartError::Disk(disk()), 74),
            (StartError::Key(KeyError::Disk(disk())), 74),
            (StartError::Key(KeyError::Exposed { path: path(), mode: 0o644 }), 78),
            (StartError::Tls(TlsError::Io { path: path(), source: gone() }), 74),
            (StartError::Tls(TlsError::Key(unreadable())), 74),
            (StartError::Tls(TlsError::Unusable { path: path(), what: "is no PEM".into() }), 78),
            (StartError::Listen { address, source: gone() }, 78),
        ];
        for (error, code) in table {
            assert_eq!(error.exit_code(), code, "{error:?}");
        }
    }
}
