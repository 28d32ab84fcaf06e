//! The publishing pass: brings the binary package hosts in line with the state.
//!
//! - `runs/RUN` of a run in progress contains exactly the packages received in it, so that the run's drones
//!   install their dependencies from there.
//! - `stable` and `staging` of a profile contain what [`swarm_core::channel`] says.
//!
//! The pass is level-triggered and idempotent: it compares the state with what is published
//! ([`mod@todo`]) and publishes what is missing ([`disk`]). A later pass recovers from a crash or a
//! full disk.

mod disk;
mod error;
mod run_hosts;
mod todo;

use crate::{
    engine::{Engine, EngineError},
    passes::{Context, Pass, Report},
    publish::{Binhosts, ChannelWriters, Progress},
    store::{ArtifactStore, entries::IndexEntryCache},
};
use disk::Disk;
use error::DiskPassError;
use run_hosts::RunHosts;
use std::{mem, sync::Arc, time::Duration};
use swarm_core::Command;
use tokio::sync::watch;

/// Delay before a failed pass is retried.
const RETRY: Duration = Duration::from_secs(1);
/// Delay before a pass that lacked only lost packages is retried. They can stay lost for days. Packages
/// repaired by an audit are published at once.
const RETRY_LOST: Duration = Duration::from_secs(60);

/// Why a pass failed. Every index stays complete: the old one or the new one.
#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error(transparent)]
    Disk(#[from] DiskPassError),
    #[error("cannot record the generation: {0}")]
    Engine(#[from] EngineError),
    #[error("the publishing task panicked: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

impl PassError {
    /// Whether only lost packages were not published. Nobody waits for those.
    fn is_of_lost_packages(&self) -> bool {
        matches!(self, Self::Disk(error) if error.is_of_lost_packages())
    }
}

pub struct Publisher {
    engine: Engine,
    progress: Arc<Progress>,
    binhosts: Binhosts,
    store: Arc<dyn ArtifactStore>,
    entries: IndexEntryCache,
    writers: ChannelWriters,
    disk: Disk,
    /// Changes with every journaled event that may affect the published files.
    channel_changes: watch::Receiver<u64>,
    /// Why the last run did not publish everything.
    failed: Option<String>,
    /// Delay before the next try.
    retry: Duration,
}

impl Publisher {
    #[must_use]
    pub fn new(
        engine: Engine,
        progress: Arc<Progress>,
        binhosts: Binhosts,
        store: Arc<dyn ArtifactStore>,
        entries: IndexEntryCache,
        writers: ChannelWriters,
    ) -> Self {
        let runs = RunHosts::new(binhosts.clone(), store.clone(), entries.clone());
        let disk = Disk::new(binhosts.clone(), writers.clone(), runs);
        let mut channel_changes = engine.channel_changes();
        channel_changes.mark_changed();
        Self {
            engine,
            progress,
            binhosts,
            store,
            entries,
            writers,
            disk,
            channel_changes,
            failed: None,
            retry: RETRY,
        }
    }

    /// A [`Disk`] that has not published anything yet.
    fn fresh(&self) -> Disk {
        let runs = RunHosts::new(self.binhosts.clone(), self.store.clone(), self.entries.clone());
        Disk::new(self.binhosts.clone(), self.writers.clone(), runs)
    }

    /// Publishes what is missing. Returns the event up to which the state was examined, and an error if there
    /// was one.
    async fn publish(&mut self, cx: &Context) -> (u64, Option<PassError>) {
        let todo = self.engine.read(|swarm| todo::todo(swarm, self.disk.done()));
        let seq = todo.seq;
        if todo.is_empty() {
            return (seq, None);
        }
        // The date must not be in the future of either clock.
        let now = self.engine.now().min(self.engine.wall()).as_secs();
        let placed: usize = todo.runs.iter().map(|run| run.artifacts.len()).sum();
        // If publishing panics, the next run checks everything again.
        let fresh = self.fresh();
        let mut disk = mem::replace(&mut self.disk, fresh);
        let published = tokio::task::spawn_blocking(move || {
            let (reports, failed) = disk.publish(now, todo);
            (disk, reports, failed)
        });
        let (reports, failed) = match published.await {
            Ok((disk, reports, failed)) => {
                self.disk = disk;
                (reports, failed)
            }
            Err(error) => return (seq, Some(error.into())),
        };
        if placed > 0 && failed.is_none() {
            cx.note(format!("{placed} made available to drones"));
        }
        for report in reports {
            match &report {
                Command::RecordGeneration { profile, channel, run, generation, packages } => {
                    tracing::info!(%profile, %channel, %run, generation, packages, "published a new generation");
                    let which = if channel.is_stable() { "" } else { "staging of " };
                    cx.note(format!("{which}{profile} is at generation {generation}"));
                }
                other => {
                    tracing::warn!(report = ?other, "the journal does not know the published generation")
                }
            }
            match self.engine.submit(report, None).await {
                // The profile was removed meanwhile, so there is nothing to record.
                Ok(_) | Err(EngineError::Refused(_)) => {}
                Err(error) => {
                    // Nothing was recorded, so the next pass examines all channels again.
                    self.disk.redo();
                    return (seq, Some(error.into()));
                }
            }
        }
        (seq, failed.map(PassError::from))
    }
}

impl Pass for Publisher {
    const NAME: &'static str = "publisher";

    async fn wake(&mut self) {
        tokio::select! {
            biased;
            () = self.binhosts.doubted() => self.disk = self.fresh(),
            changed = self.channel_changes.changed() => if changed.is_err() {
                // The engine has ended, so nothing will change.
                std::future::pending::<()>().await;
            },
            () = tokio::time::sleep(self.retry), if self.failed.is_some() => {}
        }
    }

    async fn run_once(&mut self, cx: &Context) -> Report {
        self.channel_changes.mark_unchanged();
        let (seq, failed) = self.publish(cx).await;
        let complete = failed.as_ref().is_none_or(PassError::is_of_lost_packages);
        let failure = failed.map(|error| error.to_string());
        self.retry = if complete { RETRY_LOST } else { RETRY };
        if let Some(error) = failure.as_ref().filter(|_| failure != self.failed) {
            tracing::error!(error, "cannot publish everything; will retry");
        }
        self.failed.clone_from(&failure);
        self.progress.tell(seq, failure.clone(), complete);
        failure.map_or_else(|| Ok(String::new()), Err)
    }
}
