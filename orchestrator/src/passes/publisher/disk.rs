//! The blocking disk operations of publishing, separate so that they can run on a blocking thread.

use super::{
    error::DiskPassError,
    nix::Caches,
    todo::{ChannelTodo, Done, RunTodo, Todo},
};
use crate::{
    publish::{Binhost, Binhosts, Generations, Published, generations},
    store::{
        Store, StoreError,
        entries::{EntriesError, EntryBook},
    },
};
use std::collections::BTreeMap;
use swarm_common::{
    digest::Digest,
    id::RunId,
    name::Name,
    wire::{artifact::Artifact, channel::ChannelName},
};
use swarm_core::Command;

/// Publishes, and remembers what was published.
pub(super) struct Disk {
    binhosts: Binhosts,
    store: Store,
    entries: EntryBook,
    caches: Caches,
    open: BTreeMap<RunId, Binhost>,
    /// The generation of each channel that was begun last.
    begun: BTreeMap<(Name, ChannelName), u64>,
    done: Done,
}

impl Disk {
    pub(super) fn new(binhosts: Binhosts, store: Store, entries: EntryBook, caches: Caches) -> Self {
        Self {
            binhosts,
            store,
            entries,
            caches,
            open: BTreeMap::new(),
            begun: BTreeMap::new(),
            done: Done::default(),
        }
    }

    /// What has been published.
    pub(super) fn done(&self) -> &Done {
        &self.done
    }

    /// Marks the channels as unpublished, because a switch could not be reported.
    pub(super) fn redo(&mut self) {
        self.done.channels.clear();
    }

    /// Publishes what is missing. The failure of one profile does not stop the others. Returns what is to
    /// be reported to the core, and the first error, one of lost packages only if there is no other.
    pub(super) fn publish(&mut self, now: u64, todo: Todo) -> (Vec<Command>, Option<DiskPassError>) {
        let binhosts = self.binhosts.clone();
        let _writing = binhosts.write();
        let mut failed: Option<DiskPassError> = None;
        let mut note = |result: Result<(), DiskPassError>| match result {
            Err(error) if failed.as_ref().is_none_or(DiskPassError::is_of_lost_packages) => {
                failed = Some(error)
            }
            _ => {}
        };
        todo.runs.into_iter().for_each(|run| note(self.publish_run(now, run)));
        for run in todo.ended {
            self.open.remove(&run);
            self.done.runs.remove(&run);
        }
        let mut reports = Vec::new();
        todo.channels.into_iter().for_each(|channel| note(self.publish_channel(now, channel, &mut reports)));
        (reports, failed)
    }

    fn publish_run(&mut self, now: u64, todo: RunTodo) -> Result<(), DiskPassError> {
        let RunTodo { run, profile, received, artifacts } = todo;
        let new = self.published(&profile, &artifacts)?;
        let published = match self.open.get_mut(&run) {
            Some(binhost) => binhost.add(now, &new, &self.store),
            // The result of an earlier process is compared with the complete set.
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

    /// Adds to `reports` if the journal does not know the channel's generation.
    fn publish_channel(
        &mut self,
        now: u64,
        todo: ChannelTodo,
        reports: &mut Vec<Command>,
    ) -> Result<(), DiskPassError> {
        let dir = self.binhosts.channel(&todo.profile, todo.channel);
        let key = (todo.profile.clone(), todo.channel);
        let last = generations::last(&dir)?;
        if last > todo.recorded && self.begun.get(&key) != Some(&last) {
            // The journal was restored, or a crash came before the report. Other content may have been seen
            // under the number that is wanted.
            reports.push(Command::SkipGenerations { profile: todo.profile, channel: todo.channel, last });
            return Ok(());
        }
        self.begun.insert(key.clone(), todo.number);
        if let Some(hosts) = &todo.hosts {
            self.caches.publish(now, dir, &self.store, &todo, hosts, reports)?;
            self.done.channels.insert(key, todo.number);
            return Ok(());
        }
        let ChannelTodo { profile, channel, run, number, received, kept, recorded, .. } = todo;
        let mut packages = self.published(&profile, &received)?;
        packages.extend(self.still_there(&profile, &kept)?);
        let mut binhost = Binhost::open(dir, Generations::Keep, BTreeMap::new())?.numbered(number);
        let outcome = binhost
            .publish(now, &packages, &self.store)
            .map_err(|source| DiskPassError::Publish { profile: profile.clone(), source })?;
        let (generation, packages) = (outcome.generation, binhost.index().len() as u64);
        if generation > recorded {
            let profile = profile.clone();
            reports.push(Command::RecordGeneration { profile, channel, run, generation, packages });
        }
        let lost = outcome.missing.iter().filter(|digest| received.iter().any(|a| a.digest == **digest));
        let lost: Vec<Digest> = lost.copied().collect();
        if let Some(&first) = lost.first() {
            return Err(DiskPassError::Missing { profile, count: lost.len(), first });
        }
        self.done.channels.insert(key, number);
        Ok(())
    }

    /// The artifacts kept from earlier runs that can still be published. Lost ones must not stop
    /// new ones from being published.
    fn still_there(&self, profile: &Name, kept: &[Artifact]) -> Result<Vec<Published>, DiskPassError> {
        let mut found = Vec::with_capacity(kept.len());
        for artifact in kept {
            match self.entries.entry(&self.store, artifact) {
                Ok(entry) => found.push(Published { digest: artifact.digest, entry }),
                Err(EntriesError::Store(StoreError::Absent(digest))) => {
                    let package = artifact.path();
                    tracing::warn!(%profile, package, %digest, "a published package is missing in the store");
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
