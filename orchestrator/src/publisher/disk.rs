//! The half of publishing that touches the disk, apart from the rest so that it can be
//! taken to where blocking harms nobody.

use super::{
    Binhosts,
    todo::{Done, RunTodo, StableTodo, Todo},
};
use crate::{
    artifact::{
        disk::DiskError,
        entries::{EntriesError, EntryBook},
        store::{Store, StoreError},
    },
    publish::{Binhost, Generations, PublishError, Published},
};
use std::collections::BTreeMap;
use swarm_common::{digest::Digest, id::RunId, name::Name, wire::artifact::Artifact};

/// Why something was not published.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiskPassError {
    #[error("the index of {profile} cannot be published: {source}")]
    Publish { profile: Name, source: PublishError },
    #[error("a package of {profile} cannot be indexed: {source}")]
    Entries { profile: Name, source: EntriesError },
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(
        "{count} received packages of {profile} are not in the store, the first is {first}: \
         `swarmctl audit verify` lists what is damaged"
    )]
    Missing { profile: Name, count: usize, first: Digest },
}

/// A stable channel has another generation than the journal knows of.
pub(super) struct Switched {
    pub(super) profile: Name,
    pub(super) run: RunId,
    pub(super) generation: u64,
    pub(super) packages: u64,
}

/// Publishes, and remembers what it published.
pub(super) struct Disk {
    binhosts: Binhosts,
    store: Store,
    entries: EntryBook,
    open: BTreeMap<RunId, Binhost>,
    done: Done,
}

impl Disk {
    pub(super) fn new(binhosts: Binhosts, store: Store, entries: EntryBook) -> Self {
        Self { binhosts, store, entries, open: BTreeMap::new(), done: Done::default() }
    }

    /// What was published already.
    pub(super) fn done(&self) -> &Done {
        &self.done
    }

    /// Forgets that a stable channel was published, as nobody could be told.
    pub(super) fn redo(&mut self, profile: &Name) {
        self.done.stable.remove(profile);
    }

    /// Does what is missing. One profile's failure does not hold up the others; the first
    /// is given back.
    pub(super) fn publish(&mut self, now: u64, todo: Todo) -> (Vec<Switched>, Option<DiskPassError>) {
        let binhosts = self.binhosts.clone();
        let _writing = binhosts.write();
        let mut failed = None;
        for run in todo.runs {
            if let Err(error) = self.publish_run(now, run) {
                failed.get_or_insert(error);
            }
        }
        for run in todo.ended {
            self.open.remove(&run);
            self.done.runs.remove(&run);
        }
        let mut switched = Vec::new();
        for stable in todo.stable {
            match self.publish_stable(now, stable) {
                Ok(switch) => switched.extend(switch),
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        (switched, failed)
    }

    fn publish_run(&mut self, now: u64, todo: RunTodo) -> Result<(), DiskPassError> {
        let RunTodo { run, profile, received, artifacts } = todo;
        let new = self.published(&profile, &artifacts)?;
        let published = match self.open.get_mut(&run) {
            Some(binhost) => binhost.add(now, &new, &self.store),
            // What an earlier process left is compared with all that should be there.
            None => {
                let dir = self.binhosts.run(&profile, run);
                let mut binhost = Binhost::open(dir, Generations::CurrentOnly, BTreeMap::new())?;
                let published = binhost.publish(now, &new, &self.store);
                if published.is_ok() {
                    self.open.insert(run, binhost);
                }
                published
            }
        };
        let outcome =
            published.map_err(|source| DiskPassError::Publish { profile: profile.clone(), source })?;
        if let Some(&first) = outcome.missing.first() {
            return Err(DiskPassError::Missing { profile, count: outcome.missing.len(), first });
        }
        let (count, digests) = self.done.runs.entry(run).or_default();
        *count = received;
        digests.extend(artifacts.iter().map(|artifact| artifact.digest));
        Ok(())
    }

    fn publish_stable(&mut self, now: u64, todo: StableTodo) -> Result<Option<Switched>, DiskPassError> {
        let StableTodo { profile, run, revision, received, kept, recorded } = todo;
        let mut packages = self.published(&profile, &received)?;
        packages.extend(self.still_there(&profile, &kept)?);
        let dir = self.binhosts.stable(&profile);
        let mut binhost = Binhost::open(dir, Generations::Keep, BTreeMap::new())?;
        let outcome = binhost
            .publish(now, &packages, &self.store)
            .map_err(|source| DiskPassError::Publish { profile: profile.clone(), source })?;
        let lost = outcome.missing.iter().filter(|digest| received.iter().any(|a| a.digest == **digest));
        let lost: Vec<Digest> = lost.copied().collect();
        if let Some(&first) = lost.first() {
            return Err(DiskPassError::Missing { profile, count: lost.len(), first });
        }
        self.done.stable.insert(profile.clone(), revision);
        let packages = binhost.index().len() as u64;
        let generation = outcome.generation;
        Ok((generation > recorded).then_some(Switched { profile, run, generation, packages }))
    }

    /// Those of the artifacts kept from earlier runs that can be published. Old ones may be
    /// lost, which must not hold up the new ones.
    fn still_there(&self, profile: &Name, kept: &[Artifact]) -> Result<Vec<Published>, DiskPassError> {
        let mut found = Vec::with_capacity(kept.len());
        for artifact in kept {
            match self.entries.entry(&self.store, artifact) {
                Ok(entry) => found.push(Published { digest: artifact.digest, entry }),
                Err(EntriesError::Store(StoreError::Absent(digest))) => {
                    let package = artifact.target.path();
                    tracing::warn!(%profile, package, %digest, "a package that should stay published is lost");
                }
                Err(source) => return Err(DiskPassError::Entries { profile: profile.clone(), source }),
            }
        }
        Ok(found)
    }

    fn published(&self, profile: &Name, artifacts: &[Artifact]) -> Result<Vec<Published>, DiskPassError> {
        let one = |artifact: &Artifact| {
            let entry = self.entries.entry(&self.store, artifact);
            let entry =
                entry.map_err(|source| DiskPassError::Entries { profile: profile.clone(), source })?;
            Ok(Published { digest: artifact.digest, entry })
        };
        artifacts.iter().map(one).collect()
    }
}
