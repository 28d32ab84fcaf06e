//! Errors of the blocking part of publishing.

use crate::{
    publish::{PublishError, cache::CacheError},
    store::{disk::DiskError, entries::EntriesError},
};
use swarm_common::{digest::Digest, name::Name};

/// Why something was not published.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiskPassError {
    #[error("cannot publish the index of {profile}: {source}")]
    Publish { profile: Name, source: PublishError },
    #[error("cannot index a package of {profile}: {source}")]
    Entries { profile: Name, source: EntriesError },
    #[error("cannot publish the Nix cache of {profile}: {source}")]
    Cache { profile: Name, source: CacheError },
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(
        "{count} packages of {profile} are missing or damaged in the store, the first is {first}: see \
         `swarmctl audit verify`"
    )]
    Missing { profile: Name, count: usize, first: Digest },
}

impl DiskPassError {
    /// Whether everything except lost packages was published.
    pub(super) fn is_of_lost_packages(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }
}
