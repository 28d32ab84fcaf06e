//! Where a journal on Redis is and how it is shared.

use std::path::PathBuf;
use swarm_daemon::config::Span;

/// Default lifetime of the lock.
pub(crate) const LOCK: Span = Span::from_secs(10);

/// Settings of a journal on Redis.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// How to find the Redis.
    pub place: Place,
    /// The ACL user, if not the default one.
    pub username: Option<String>,
    /// File with the password.
    pub password_file: Option<PathBuf>,
    /// Prefix of the keys.
    pub swarm: String,
    /// This orchestrator's own address, to which a standby sends writers.
    pub address: Option<String>,
    /// Lifetime of the lock without renewal, in milliseconds.
    pub lock_ms: u64,
    /// Number of replicas that must have a batch before it is acknowledged.
    pub wait_replicas: u32,
}

/// How to find a Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
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
            place: Place::Url(url.to_owned()),
            username: None,
            password_file: None,
            swarm: "swarm".to_owned(),
            address: None,
            lock_ms: LOCK.millis(),
            wait_replicas: 0,
        }
    }
}
