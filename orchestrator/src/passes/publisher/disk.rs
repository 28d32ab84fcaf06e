//! The blocking disk operations of publishing. They are separate so that they can run on a blocking thread.

use super::{
    error::DiskPassError,
    nix::Caches,
    portage::Packages,
    todo::{ChannelTodo, Done, RunTodo, Todo},
};
use crate::{
    publish::{self, Binhost, Binhosts, Generations, generations},
    store::{ArtifactStore, entries::IndexEntryCache},
};
use std::{collections::BTreeMap, sync::Arc};
use swarm_common::{
    id::RunId,
    name::Name,
    wire::{admin::BuilderKind, channel::ChannelName},
};
use swarm_core::Command;

/// Publishes, and remembers what was published.
pub(super) struct Disk {
    binhosts: Binhosts,
    store: Arc<dyn ArtifactStore>,
    packages: Packages,
    caches: Caches,
    open: BTreeMap<RunId, Binhost>,
    /// The generation last begun in each channel.
    begun: BTreeMap<(Name, ChannelName), u64>,
    done: Done,
}

impl Disk {
    pub(super) fn new(
        binhosts: Binhosts,
        store: Arc<dyn ArtifactStore>,
        entries: IndexEntryCache,
        caches: Caches,
    ) -> Self {
        Self {
            binhosts,
            packages: Packages { store: store.clone(), entries },
            store,
            caches,
            open: BTreeMap::new(),
            begun: BTreeMap::new(),
            done: Done::default(),
        }
    }

    pub(super) fn done(&self) -> &Done {
        &self.done
    }

    /// Marks the channels as unpublished, because a new generation could not be recorded.
    pub(super) fn redo(&mut self) {
        self.done.channels.clear();
    }

    /// Publishes what is missing. A profile that fails does not stop the others. Returns commands for the
    /// core, and the first error; an error about lost packages only if there is no other.
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
        let new = self.packages.published(&profile, &artifacts)?;
        let published = match self.open.get_mut(&run) {
            Some(binhost) => binhost.add(now, &new, &*self.store),
            // The files may be from an earlier process, so compare them with the complete set.
            None => {
                let dir = self.binhosts.run(&profile, run);
                let mut binhost = Binhost::open(dir, Generations::CurrentOnly, BTreeMap::new())?;
                let published = binhost.publish(now, &new, &*self.store);
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

    /// Publishes a channel. Adds to `reports` if the journal does not know the channel's generation.
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
            // The journal was restored, or a crash happened before the report. Clients may have seen other
            // content under the wanted number.
            reports.push(Command::SkipGenerations { profile: todo.profile, channel: todo.channel, last });
            return Ok(());
        }
        self.begun.insert(key.clone(), todo.number);
        let number = todo.number;
        publish::clear_other(&dir, todo.kind)?;
        match todo.kind {
            BuilderKind::Portage => self.packages.publish(now, dir, todo, reports)?,
            BuilderKind::Nix => self.caches.publish(now, dir, &*self.store, &todo, reports)?,
        }
        self.done.channels.insert(key, number);
        Ok(())
    }
}
