//! Errors of the blocking part of publishing.

use crate::{publish::PublishError, store::disk::DiskError};
use swarm_common::{digest::Digest, name::Name};

/// Why something was not published.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiskPassError {
    #[error("cannot publish {profile}: {source}")]
    Publish { profile: Name, source: PublishError },
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(
        "{count} packages of {profile} are missing or damaged in the store, the first is {first}: see \
         `swarmctl audit verify`"
    )]
    Missing { profile: Name, count: usize, first: Digest },
}

impl DiskPassError {
    /// An error if any packages of a profile could not be published because they are `missing`.
    pub(super) fn if_any_missing(profile: &Name, missing: &[Digest]) -> Result<(), Self> {
        let Some(&first) = missing.first() else { return Ok(()) };
        Err(Self::Missing { profile: profile.clone(), count: missing.len(), first })
    }

    /// Whether everything except lost packages was published.
    pub(super) fn is_of_lost_packages(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }
}
