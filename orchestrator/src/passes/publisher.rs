//! The publishing pass: brings the binary package hosts in line with the state.
//!
//! - `runs/RUN` of a run in progress has exactly the packages received in it, so that the run's
//!   drones install their dependencies from there.
//! - `stable` of a profile has what [`swarm_core::channel`] says.
//!
//! The pass is level-triggered and idempotent: it compares the state with what is published
//! ([`mod@todo`]) and publishes what is missing ([`disk`]). A later pass recovers from a crash or a
//! full disk.

mod disk;
mod nix;
mod todo;

pub use nix::Caches;

use crate::{
    engine::{Engine, EngineError},
    passes::Passes,
    store::{Store, entries::EntryBook},
};
use disk::{Disk, DiskPassError};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use swarm_common::{id::RunId, name::Name};
use swarm_core::Command;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// Name in the list of passes.
const NAME: &str = "publisher";

/// Delay before a failed pass is retried.
const RETRY: Duration = Duration::from_secs(1);

/// The directories of the binary package hosts.
#[derive(Debug, Clone)]
pub struct Binhosts {
    dir: PathBuf,
    /// Held while files are placed, switched or removed.
    writing: Arc<Mutex<()>>,
    /// Signals that the files on disk must be checked again.
    doubted: Arc<Notify>,
}

impl Binhosts {
    /// The binary package hosts below `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), writing: Arc::default(), doubted: Arc::default() }
    }

    /// Locks everything below for writing. May block.
    pub fn write(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the publisher compare everything with the state again and write what differs.
    pub fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// The top directory, with a subdirectory for each profile.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The channel from which a profile's workstations install.
    #[must_use]
    pub fn stable(&self, profile: &Name) -> PathBuf {
        self.dir.join(profile.as_str()).join("stable")
    }

    /// The directory with the channels of a profile's runs.
    #[must_use]
    pub fn runs(&self, profile: &Name) -> PathBuf {
        self.dir.join(profile.as_str()).join("runs")
    }

    /// The channel from which a run's drones install.
    #[must_use]
    pub fn run(&self, profile: &Name, run: RunId) -> PathBuf {
        self.runs(profile).join(run.to_string())
    }
}

/// The progress of publishing, for callers that wait for it or check for errors.
#[derive(Debug, Default)]
pub struct Progress {
    seq: watch::Sender<u64>,
    trouble: Mutex<Option<String>>,
}

impl Progress {
    /// Waits until everything up to event `seq` is published. Returns false after `limit`.
    pub async fn reached(&self, seq: u64, limit: Duration) -> bool {
        let mut published = self.seq.subscribe();
        let reached = published.wait_for(|published| *published >= seq);
        matches!(tokio::time::timeout(limit, reached).await, Ok(Ok(_)))
    }

    /// Changes with each successful pass.
    #[must_use]
    pub fn passes(&self) -> watch::Receiver<u64> {
        self.seq.subscribe()
    }

    /// Why the last pass failed, if it did.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tell(&self, seq: u64, failed: Option<&PassError>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = failed.map(ToString::to_string);
        // Nobody waits for packages that are lost.
        let is_published = |error: &PassError| matches!(error, PassError::Disk(e) if e.is_of_lost_packages());
        if failed.is_none_or(is_published) {
            self.seq.send_replace(seq);
        }
    }
}

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
            self.progress.tell(seq, failed.as_ref());
            tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                () = self.binhosts.doubted.notified() => disk = self.fresh(),
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
                Command::RecordGeneration { profile, run, generation, packages } => {
                    tracing::info!(%profile, %run, generation, packages, "published a new generation");
                    self.passes.note(NAME, format!("{profile} is at generation {generation}"));
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
