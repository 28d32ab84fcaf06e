//! Channels of Portage profiles, published as binary package hosts.

mod binhost;
pub(crate) mod whole;

pub use binhost::{Binhost, Outcome, Published, is_package_path};

use super::{ChannelContent, ChannelOutcome, ChannelWriter, Generations, PublishError};
use crate::store::{
    ArtifactStore, StoreError,
    disk::DiskError,
    entries::{EntriesError, IndexEntryCache},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};
use swarm_common::{digest::Digest, wire::artifact::Artifact};

/// The sources from which binary package hosts are published.
pub struct Portage {
    pub store: Arc<dyn ArtifactStore>,
    pub entries: IndexEntryCache,
}

impl Portage {
    /// Splits the artifacts kept from earlier runs into those that can still be published and those that are
    /// lost. Lost ones must not prevent new ones from being published.
    fn still_there(&self, kept: &[Artifact]) -> Result<(Vec<Published>, Vec<Digest>), PublishError> {
        let (mut found, mut lost) = (Vec::with_capacity(kept.len()), Vec::new());
        for artifact in kept {
            match self.entries.entry(artifact) {
                Ok(entry) => found.push(Published { digest: artifact.digest, entry }),
                Err(EntriesError::Store(StoreError::Absent(digest))) => lost.push(digest),
                Err(error) => return Err(error.into()),
            }
        }
        Ok((found, lost))
    }
}

impl ChannelWriter for Portage {
    fn is_in(&self, dir: &Path) -> bool {
        Binhost::is_in(dir)
    }

    fn publish(
        &self,
        now: u64,
        dir: &Path,
        content: &ChannelContent,
    ) -> Result<ChannelOutcome, PublishError> {
        let mut packages = published(&self.entries, &content.received)?;
        let (still_there, mut missing) = self.still_there(&content.kept)?;
        packages.extend(still_there);
        let binhost = Binhost::open(dir, Generations::Keep, BTreeMap::new())?;
        let mut binhost = binhost.numbered(content.number);
        let outcome = binhost.publish(now, &packages, &*self.store)?;
        missing.extend(outcome.missing);
        let packages = binhost.index().len() as u64;
        Ok(ChannelOutcome { generation: outcome.generation, packages, missing })
    }

    fn sweep(&self, dir: &Path, now: u64, grace: u64, _: &BTreeSet<u64>) -> Result<usize, DiskError> {
        Binhost::open(dir, Generations::Keep, BTreeMap::new())?.sweep(now, grace)
    }
}

/// The artifacts with their index entries.
///
/// # Errors
/// An entry is missing and cannot be made from the package.
pub(crate) fn published(
    entries: &IndexEntryCache,
    artifacts: &[Artifact],
) -> Result<Vec<Published>, PublishError> {
    let one =
        |artifact: &Artifact| Ok(Published { digest: artifact.digest, entry: entries.entry(artifact)? });
    artifacts.iter().map(one).collect()
}
