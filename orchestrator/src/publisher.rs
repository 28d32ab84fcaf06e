//! The publishing pass: what the binary package hosts hold follows the state.
//!
//! - `runs/RUN` of a run under way holds exactly the packages received in it, so that the
//!   run's drones install their dependencies from there.
//! - `stable` of a profile holds what [`swarm_core::channel`] says.
//!
//! Level-triggered and idempotent: every pass compares the state with what is published
//! ([`todo`]) and does what is missing ([`disk`]). A crash or a full disk is made good by
//! a later pass.

mod disk;
mod todo;

use crate::{
    artifact::{entries::EntryBook, store::Store},
    engine::{Engine, EngineError},
    passes::Passes,
};
use disk::{Disk, DiskPassError, Switched};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use swarm_common::{id::RunId, name::Name};
use swarm_core::Command;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// What it is called in the list of passes.
const NAME: &str = "publisher";

/// A failed pass is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);

/// Where the binary package hosts are on the disk.
#[derive(Debug, Clone)]
pub struct Binhosts {
    dir: PathBuf,
    /// Held while files are placed, switched or removed.
    writing: Arc<Mutex<()>>,
    /// Told when what is on the disk is to be looked at anew.
    doubted: Arc<Notify>,
}

impl Binhosts {
    /// They are below `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), writing: Arc::default(), doubted: Arc::default() }
    }

    /// Waits until nobody else changes anything below; for code that may block.
    pub fn write(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the publisher compare everything with the state anew, and write what differs.
    pub fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// All of them: a directory for each profile.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What workstations of a profile install from.
    #[must_use]
    pub fn stable(&self, profile: &Name) -> PathBuf {
        self.dir.join(profile.as_str()).join("stable")
    }

    /// Those of a profile's runs.
    #[must_use]
    pub fn runs(&self, profile: &Name) -> PathBuf {
        self.dir.join(profile.as_str()).join("runs")
    }

    /// What the drones of a run install from.
    #[must_use]
    pub fn run(&self, profile: &Name, run: RunId) -> PathBuf {
        self.runs(profile).join(run.to_string())
    }
}

/// How far publishing is, for those who wait for it or look whether it is in order.
#[derive(Debug, Default)]
pub struct Progress {
    seq: watch::Sender<u64>,
    trouble: Mutex<Option<String>>,
}

impl Progress {
    /// Waits until everything up to the event `seq` is published. False if that takes
    /// longer than `limit`.
    pub async fn reached(&self, seq: u64, limit: Duration) -> bool {
        let mut published = self.seq.subscribe();
        let reached = published.wait_for(|published| *published >= seq);
        matches!(tokio::time::timeout(limit, reached).await, Ok(Ok(_)))
    }

    /// Each pass that ends in order, to wait on.
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
        if failed.is_none() {
            self.seq.send_replace(seq);
        }
    }
}

/// Why a pass failed. The old indexes stand, with all their files.
#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error(transparent)]
    Disk(#[from] DiskPassError),
    #[error("the generation cannot be recorded: {0}")]
    Engine(#[from] EngineError),
    #[error("publishing broke off: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

/// Keeps the binary package hosts as the state wants them.
pub struct Publisher {
    engine: Engine,
    progress: Arc<Progress>,
    passes: Arc<Passes>,
    binhosts: Binhosts,
    store: Store,
    entries: EntryBook,
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
    ) -> Self {
        Self { engine, progress, passes, binhosts, store, entries }
    }

    /// Passes whenever something was journaled that it may concern, until `stopping`.
    pub async fn run(self, stopping: CancellationToken) {
        let mut hosts = self.engine.hosts();
        let mut disk = self.fresh();
        loop {
            hosts.mark_unchanged();
            let (after, seq, failed) = self.pass(disk).await;
            disk = after;
            if let Some(error) = &failed {
                tracing::error!(%error, "publishing failed; the old index stands, and it is tried again");
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

    /// A disk half that has looked at nothing yet.
    fn fresh(&self) -> Disk {
        Disk::new(self.binhosts.clone(), self.store.clone(), self.entries.clone())
    }

    /// One pass: what it leaves, up to which event it looked, and why it failed.
    async fn pass(&self, mut disk: Disk) -> (Disk, u64, Option<PassError>) {
        let todo = self.engine.read(|swarm| todo::todo(swarm, disk.done()));
        let seq = todo.seq;
        if todo.is_empty() {
            return (disk, seq, None);
        }
        // Nothing is dated later than it is by either clock.
        let now = self.engine.now().min(self.engine.wall()).as_secs();
        let placed: usize = todo.runs.iter().map(|run| run.artifacts.len()).sum();
        let published = tokio::task::spawn_blocking(move || {
            let (switched, failed) = disk.publish(now, todo);
            (disk, switched, failed)
        });
        let (mut disk, switched, failed) = match published.await {
            Ok(published) => published,
            // What was known went with it; the next pass looks at everything anew.
            Err(error) => return (self.fresh(), seq, Some(error.into())),
        };
        if placed > 0 && failed.is_none() {
            self.passes.note(NAME, format!("{placed} placed for drones"));
        }
        for Switched { profile, run, generation, packages } in switched {
            tracing::info!(%profile, %run, generation, packages, "a new generation is published");
            self.passes.note(NAME, format!("{profile} is at generation {generation}"));
            let command = Command::RecordGeneration { profile: profile.clone(), run, generation, packages };
            match self.engine.submit(command, None).await {
                // The profile was removed meanwhile: nothing is left to record.
                Ok(_) | Err(EngineError::Refused(_)) => {}
                Err(error) => {
                    disk.redo(&profile);
                    return (disk, seq, Some(error.into()));
                }
            }
        }
        (disk, seq, failed.map(PassError::from))
    }
}
