//! Publishes a channel of a Portage profile as a binary package host.

use super::{error::DiskPassError, todo::ChannelTodo};
use crate::{
    publish::{Binhost, Generations, Published},
    store::{
        ArtifactStore, StoreError,
        entries::{EntriesError, IndexEntryCache},
    },
};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};
use swarm_common::{digest::Digest, name::Name, wire::artifact::Artifact};
use swarm_core::Command;

/// The sources from which binary package hosts are published.
pub(super) struct Packages {
    pub(super) store: Arc<dyn ArtifactStore>,
    pub(super) entries: IndexEntryCache,
}

impl Packages {
    /// Publishes a channel. Adds to `reports` if the journal does not know its generation.
    pub(super) fn publish(
        &self,
        now: u64,
        dir: PathBuf,
        todo: ChannelTodo,
        reports: &mut Vec<Command>,
    ) -> Result<(), DiskPassError> {
        let ChannelTodo { profile, channel, run, number, received, kept, recorded, .. } = todo;
        let mut packages = self.published(&profile, &received)?;
        let (still_there, mut lost) = self.still_there(&profile, &kept)?;
        packages.extend(still_there);
        let mut binhost = Binhost::open(dir, Generations::Keep, BTreeMap::new())?.numbered(number);
        let outcome = binhost
            .publish(now, &packages, &*self.store)
            .map_err(|source| DiskPassError::Publish { profile: profile.clone(), source })?;
        let (generation, packages) = (outcome.generation, binhost.index().len() as u64);
        if generation > recorded {
            let profile = profile.clone();
            reports.push(Command::RecordGeneration { profile, channel, run, generation, packages });
        }
        lost.extend(outcome.missing);
        match lost.first() {
            Some(&first) => Err(DiskPassError::Missing { profile, count: lost.len(), first }),
            None => Ok(()),
        }
    }

    /// Splits the artifacts kept from earlier runs into those that can still be published and those that are
    /// lost. Lost ones must not prevent new ones from being published.
    fn still_there(
        &self,
        profile: &Name,
        kept: &[Artifact],
    ) -> Result<(Vec<Published>, Vec<Digest>), DiskPassError> {
        let (mut found, mut lost) = (Vec::with_capacity(kept.len()), Vec::new());
        for artifact in kept {
            match self.entries.entry(artifact) {
                Ok(entry) => found.push(Published { digest: artifact.digest, entry }),
                Err(EntriesError::Store(StoreError::Absent(digest))) => lost.push(digest),
                Err(source) => return Err(DiskPassError::Entries { profile: profile.clone(), source }),
            }
        }
        Ok((found, lost))
    }

    pub(super) fn published(
        &self,
        profile: &Name,
        artifacts: &[Artifact],
    ) -> Result<Vec<Published>, DiskPassError> {
        let one = |artifact: &Artifact| {
            let entry = self.entries.entry(artifact);
            let entry =
                entry.map_err(|source| DiskPassError::Entries { profile: profile.clone(), source })?;
            Ok(Published { digest: artifact.digest, entry })
        };
        artifacts.iter().map(one).collect()
    }
}
