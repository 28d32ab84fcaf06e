//! The blocking disk operations of publishing. They are separate so that they can run on a blocking thread.

use super::{
    error::DiskPassError,
    run_hosts::RunHosts,
    todo::{ChannelTodo, Done, RunTodo, Todo},
};
use crate::publish::{Binhosts, ChannelWriters, generations};
use std::collections::BTreeMap;
use swarm_common::{name::Name, wire::channel::ChannelName};
use swarm_core::Command;

/// Publishes, and remembers what was published.
pub(super) struct Disk {
    binhosts: Binhosts,
    writers: ChannelWriters,
    runs: RunHosts,
    /// The generation last begun in each channel.
    begun: BTreeMap<(Name, ChannelName), u64>,
    done: Done,
}

impl Disk {
    pub(super) fn new(binhosts: Binhosts, writers: ChannelWriters, runs: RunHosts) -> Self {
        Self { binhosts, writers, runs, begun: BTreeMap::new(), done: Done::default() }
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
            self.runs.close(run);
            self.done.runs.remove(&run);
        }
        let mut reports = Vec::new();
        todo.channels.into_iter().for_each(|channel| note(self.publish_channel(now, channel, &mut reports)));
        (reports, failed)
    }

    fn publish_run(&mut self, now: u64, todo: RunTodo) -> Result<(), DiskPassError> {
        self.runs.publish(now, &todo)?;
        let (count, digests) = self.done.runs.entry(todo.run).or_default();
        *count = todo.received;
        digests.extend(todo.artifacts.iter().map(|artifact| artifact.digest));
        Ok(())
    }

    /// Publishes a channel. Adds to `reports` if the journal does not know the channel's generation.
    fn publish_channel(
        &mut self,
        now: u64,
        todo: ChannelTodo,
        reports: &mut Vec<Command>,
    ) -> Result<(), DiskPassError> {
        let ChannelTodo { kind, run, recorded, content } = todo;
        let (profile, channel) = (content.profile.clone(), content.channel);
        let dir = self.binhosts.channel(&profile, channel);
        let key = (profile.clone(), channel);
        let last = generations::last(&dir)?;
        if last > recorded && self.begun.get(&key) != Some(&last) {
            // The journal was restored, or a crash happened before the report. Clients may have seen other
            // content under the wanted number.
            reports.push(Command::SkipGenerations { profile, channel, last });
            return Ok(());
        }
        self.begun.insert(key.clone(), content.number);
        self.writers.clear_others(kind, &dir)?;
        let outcome = self.writers.get(kind).publish(now, &dir, &content);
        let outcome =
            outcome.map_err(|source| DiskPassError::Publish { profile: profile.clone(), source })?;
        let (generation, packages) = (outcome.generation, outcome.packages);
        if generation > recorded {
            let profile = profile.clone();
            reports.push(Command::RecordGeneration { profile, channel, run, generation, packages });
        }
        DiskPassError::if_any_missing(&profile, &outcome.missing)?;
        self.done.channels.insert(key, content.number);
        Ok(())
    }
}
