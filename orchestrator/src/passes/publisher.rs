//! The publishing pass: brings the binary package hosts in line with the state.
//!
//! - `runs/RUN` of a run in progress has exactly the packages received in it, so that the run's
//!   drones install their dependencies from there.
//! - `stable` and `staging` of a profile have what [`swarm_core::channel`] says.
//!
//! The pass is level-triggered and idempotent: it compares the state with what is published
//! ([`mod@todo`]) and publishes what is missing ([`disk`]). A later pass recovers from a crash or a
//! full disk.

mod disk;
mod error;
mod nix;
mod todo;

pub use nix::Caches;

use crate::{
    engine::{Engine, EngineError},
    passes::Passes,
    publish::{Binhosts, Progress},
    store::{Store, entries::EntryBook},
};
use disk::Disk;
use error::DiskPassError;
use std::{sync::Arc, time::Duration};
use swarm_core::Command;
use tokio_util::sync::CancellationToken;

/// Name in the list of passes.
const NAME: &str = "publisher";

/// Delay before a failed pass is retried.
const RETRY: Duration = Duration::from_secs(1);

/// Why a pass failed. Each index is whole, old or new.
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
    /// Whether only packages that are lost are not published; nobody waits for those.
    fn is_of_lost_packages(&self) -> bool {
        matches!(self, Self::Disk(error) if error.is_of_lost_packages())
    }
}

/// Keeps the binary package hosts in line with the state.
pub struct Publisher {
    engine: Engine,
    progress: Arc<Progress>,
    passes: Arc<Passes>,
    binhosts: Binhosts,
    store: Store,
    entries: EntryBook,
    caches: Caches,
}

impl Publisher {
    /// A publisher for these directories.
    #[must_use]
    pub fn new(
        engine: Engine,
        progress: Arc<Progress>,
        passes: Arc<Passes>,
        binhosts: Binhosts,
        store: Store,
        entries: EntryBook,
        caches: Caches,
    ) -> Self {
        Self { engine, progress, passes, binhosts, store, entries, caches }
    }

    /// Runs a pass whenever a journaled event may concern it, until `stopping`.
    pub async fn run(self, stopping: CancellationToken) {
        let mut hosts = self.engine.hosts();
        let mut disk = self.fresh();
        loop {
            hosts.mark_unchanged();
            let (after, seq, failed) = self.pass(disk).await;
            disk = after;
            if let Some(error) = &failed {
                tracing::error!(%error, "cannot publish everything; will retry");
            }
            match &failed {
                Some(error) => self.passes.fail(NAME, error.to_string()),
                None => self.passes.note(NAME, ""),
            }
            let complete = failed.as_ref().is_none_or(PassError::is_of_lost_packages);
            self.progress.tell(seq, failed.as_ref().map(ToString::to_string), complete);
            tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                () = self.binhosts.doubted() => disk = self.fresh(),
                changed = hosts.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(RETRY), if failed.is_some() => {}
            }
        }
    }

    /// A disk half that has not published anything yet.
    fn fresh(&self) -> Disk {
        Disk::new(self.binhosts.clone(), self.store.clone(), self.entries.clone(), self.caches.clone())
    }

    /// Runs a pass. Returns the disk half, the event up to which the state was examined, and any
    /// error.
    async fn pass(&self, mut disk: Disk) -> (Disk, u64, Option<PassError>) {
        let todo = self.engine.read(|swarm| todo::todo(swarm, disk.done()));
        let seq = todo.seq;
        if todo.is_empty() {
            return (disk, seq, None);
        }
        // Never use a date in the future of either clock.
        let now = self.engine.now().min(self.engine.wall()).as_secs();
        let placed: usize = todo.runs.iter().map(|run| run.artifacts.len()).sum();
        let published = tokio::task::spawn_blocking(move || {
            let (reports, failed) = disk.publish(now, todo);
            (disk, reports, failed)
        });
        let (mut disk, reports, failed) = match published.await {
            Ok(published) => published,
            // The record of what was published is lost; the next pass checks everything again.
            Err(error) => return (self.fresh(), seq, Some(error.into())),
        };
        if placed > 0 && failed.is_none() {
            self.passes.note(NAME, format!("{placed} made available to drones"));
        }
        for report in reports {
            match &report {
                Command::RecordGeneration { profile, channel, run, generation, packages } => {
                    tracing::info!(%profile, %channel, %run, generation, packages, "published a new generation");
                    let which = if channel.is_stable() { "" } else { "staging of " };
                    self.passes.note(NAME, format!("{which}{profile} is at generation {generation}"));
                }
                other => {
                    tracing::warn!(report = ?other, "the journal does not know the published generation")
                }
            }
            match self.engine.submit(report, None).await {
                // The profile was removed in the meantime: there is nothing to record.
                Ok(_) | Err(EngineError::Refused(_)) => {}
                Err(error) => {
                    // Nothing was reported: the next pass examines all channels again.
                    disk.redo();
                    return (disk, seq, Some(error.into()));
                }
            }
        }
        (disk, seq, failed.map(PassError::from))
    }
}
