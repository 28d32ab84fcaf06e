//! Location of a Redis journal and how orchestrators share it.

use std::path::PathBuf;
use swarm_daemon::config::Span;

/// Default lifetime of the lock.
pub(crate) const LOCK: Span = Span::from_secs(10);

#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// How to find the Redis server.
    pub location: ServerLocation,
    /// The ACL user, if not the default one.
    pub username: Option<String>,
    /// File with the password.
    pub password_file: Option<PathBuf>,
    /// Prefix of the keys.
    pub swarm: String,
    /// This orchestrator's address, to which standbys redirect writers.
    pub address: Option<String>,
    /// Lifetime of the lock without renewal, in milliseconds.
    pub lock_ms: u64,
    /// Number of replicas that must have a batch before it is acknowledged. 0 waits for none.
    pub wait_replicas: u32,
}

/// How to find a Redis server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerLocation {
    /// A fixed address, `redis://HOST:PORT/DATABASE`.
    Url(String),
    /// Through sentinels.
    Sentinels {
        /// Their addresses, `HOST:PORT`.
        addresses: Vec<String>,
        /// The master's name.
        master: String,
    },
}

impl RedisSettings {
    /// Settings for a Redis at this address, with defaults for everything else.
    #[must_use]
    pub fn at(url: &str) -> Self {
        Self {
            location: ServerLocation::Url(url.to_owned()),
            username: None,
            password_file: None,
            swarm: "swarm".to_owned(),
            address: None,
            lock_ms: LOCK.millis(),
            wait_replicas: 0,
        }
    }
}
