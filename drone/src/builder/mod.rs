//! Doing what an assignment says: a plan, packages, or a base.
//!
//! [`run`] is all that the agent calls. It streams what happens as [`BuildNote`]s, ends
//! with exactly one [`BuildEnd`], and leaves no process behind, whatever happens; what is
//! left of the attempt's directory is the files it returns. It decides nothing: what to
//! build, whether to try again and who is to blame is the orchestrator's business.

mod base;
mod config;
mod failure;
mod fetch;
mod first;
mod install;
mod lack;
mod log;
mod plan;
mod portage;
mod slots;
mod steps;

pub use config::{BuilderConfig, processors};
pub(crate) use failure::of as failure;
pub use install::Larder;

use crate::buildroot::{self, Ingredients, Root, RootError};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Instant,
};
use swarm_common::{
    state::{FailureClass, Phase},
    wire::{
        drone::{Assignment, Failure, Usage, Work},
        plan::PlanReport,
    },
};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

/// What to do, and where.
#[derive(Debug, Clone)]
pub struct BuildContext {
    /// The attempt.
    pub assignment: Assignment,
    /// Its snapshot, unpacked. It is only read. If that is in layers, only its manifest and `etc`.
    pub snapshot: PathBuf,
    /// The layers of its snapshot, the lowest first; none if it is one directory.
    pub snapshot_layers: Vec<PathBuf>,
    /// Where artifacts come from.
    pub larder: Larder,
    /// Directories of the drone that no build may see: credential, spool, caches.
    pub hidden: Vec<PathBuf>,
    /// The directory of its jobserver's pipe, if there is one.
    pub jobserver: Option<PathBuf>,
    /// The drone's settings.
    pub config: BuilderConfig,
    /// A fresh directory on disk. It is used wholly, and emptied except for the files that
    /// are returned.
    pub attempt_dir: PathBuf,
}

/// Something that happens meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildNote {
    /// The attempt is in this phase now.
    Phase(Phase),
    /// A piece of the log, as it was printed: any bytes.
    Log(Vec<u8>),
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildEnd {
    /// The package files, in the order of the targets; they lie in the attempt's directory.
    Built {
        /// The files.
        files: Vec<PathBuf>,
        /// What it took.
        usage: Usage,
    },
    /// The plan.
    Planned {
        /// The plan.
        plan: PlanReport,
        /// What it took.
        usage: Usage,
    },
    /// Its base was made and works.
    Based {
        /// What it took.
        usage: Usage,
    },
    /// It failed.
    Failed {
        /// Why.
        failure: Failure,
        /// What it took.
        usage: Usage,
    },
    /// The caller cancelled.
    Cancelled,
}

/// Why an attempt came to no result.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It failed.
    Failed(Failure),
    /// The caller cancelled.
    Cancelled,
}

impl Stop {
    /// A failure that no program's output tells of.
    fn failed(class: FailureClass, phase: Phase, message: impl Into<String>) -> Self {
        Self::Failed(failure::of(class, phase, message.into()))
    }
}

impl From<RootError> for Stop {
    fn from(error: RootError) -> Self {
        let class = match error {
            RootError::Io { .. } | RootError::NoPortage(..) | RootError::NotRoot | RootError::NotOurs(_) => {
                FailureClass::Drone
            }
            // Every drone would refuse it; the orchestrator gave it out.
            RootError::Snapshot(_) | RootError::TooManyLayers(_) => FailureClass::Infra,
        };
        Self::failed(class, Phase::Preparing, error.to_string())
    }
}

/// Does the work. On `cancel` everything it started is killed and removed first.
pub async fn run(context: BuildContext, notes: Sender<BuildNote>, cancel: CancellationToken) -> BuildEnd {
    let started = Instant::now();
    let mut steps = steps::Steps::new(&context, notes, cancel, started);
    let result = match base::ready(&context, &mut steps).await {
        // Kept until the work is done.
        Ok(base) => {
            let within = base.as_ref().map(|base| context.within(&base.path()));
            work(within.as_ref().unwrap_or(&context), &mut steps).await
        }
        Err(stop) => Err(stop),
    };
    let usage = steps.usage(started);
    let keep = match &result {
        Ok(Done::Built(files)) => files.first().and_then(|f| f.ancestors().nth(3)).map(Path::to_owned),
        _ => None,
    };
    let dir = context.attempt_dir.clone();
    if let Err(e) = tokio::task::spawn_blocking(move || clear(&dir, keep.as_deref())).await {
        tracing::warn!(attempt = %context.assignment.attempt, error = %e, "the build root was not removed");
    }
    match result {
        Ok(Done::Built(files)) => BuildEnd::Built { files, usage },
        Ok(Done::Planned(plan)) => BuildEnd::Planned { plan, usage },
        Ok(Done::Based) => BuildEnd::Based { usage },
        Err(Stop::Failed(failure)) => BuildEnd::Failed { failure, usage },
        Err(Stop::Cancelled) => BuildEnd::Cancelled,
    }
}

enum Done {
    Built(Vec<PathBuf>),
    Planned(PlanReport),
    Based,
}

impl BuildContext {
    /// What a build root of this attempt is made of, without layers.
    fn ingredients(&self) -> Ingredients<'_> {
        Ingredients {
            attempt: &self.attempt_dir,
            snapshot: &self.snapshot,
            snapshot_layers: &self.snapshot_layers,
            snapshot_digest: self.assignment.snapshot,
            config: &self.config,
            jobs: self.assignment.limits.jobs,
            hidden: &self.hidden,
            jobserver: self.jobserver.as_deref(),
            layers: Vec::new(),
            planning: self.assignment.work == Work::Plan,
        }
    }

    /// The same in a base that was made for it.
    fn within(&self, base: &Path) -> Self {
        Self { config: self.config.within(base), ..self.clone() }
    }

    /// Makes the attempt's build root with these layers.
    async fn root(&self, layers: Vec<PathBuf>) -> Result<Root, Stop> {
        let context = self.clone();
        let made =
            tokio::task::spawn_blocking(move || Root::make(Ingredients { layers, ..context.ingredients() }));
        let broken = |e| format!("making the build root broke off: {e}");
        let made = made.await.map_err(|e| Stop::failed(FailureClass::Drone, Phase::Preparing, broken(e)))?;
        Ok(made?)
    }
}

async fn work(context: &BuildContext, steps: &mut steps::Steps) -> Result<Done, Stop> {
    steps.phase(Phase::Preparing).await;
    match &context.assignment.work {
        Work::Plan => {
            let root = context.root(Vec::new()).await?;
            plan::plan(&root, steps).await.map(Done::Planned)
        }
        // It is made before any work.
        Work::Base => Ok(Done::Based),
        Work::Build(order) => {
            let installed = install::prepare(context, &order.dependencies, steps).await?;
            let root = context.root(installed.layers.iter().map(|layer| layer.path()).collect()).await?;
            let before = root.live_packages();
            let built = match install::install(&root, &installed.ordered, steps).await {
                Ok(()) => portage::build(&root, order, steps).await.map(Done::Built),
                Err(stop) => Err(stop),
            };
            let (from, to) = (root.outside().distfiles.clone(), root.outside().shared_distfiles.clone());
            if let Err(error) = buildroot::keep_distfiles(&from, &to) {
                tracing::warn!(%error, "what was downloaded is not kept");
            }
            tell_changes(&root, before, steps).await;
            built
        }
    }
}

/// Says what the attempt changed of the machine itself, where it does that.
async fn tell_changes(root: &Root, before: Option<BTreeSet<String>>, steps: &mut steps::Steps) {
    let (Some(before), Some(after)) = (before, root.live_packages()) else { return };
    let names = |a: &BTreeSet<String>, b: &BTreeSet<String>| {
        let names: Vec<&str> = a.difference(b).map(String::as_str).collect();
        if names.is_empty() { "nothing".to_owned() } else { names.join(" ") }
    };
    let (installed, removed) = (names(&after, &before), names(&before, &after));
    tracing::info!(%installed, %removed, "this machine's own root was changed");
    let text = format!("live: into this machine was installed: {installed}; removed: {removed}");
    steps.log.say(&text).await;
}

/// Removes the attempt's directory, or all of it but `keep`.
fn clear(dir: &Path, keep: Option<&Path>) {
    let Some(keep) = keep else {
        if let Err(e) = std::fs::remove_dir_all(dir) {
            tracing::warn!(dir = %dir.display(), error = %e, "the build root was not removed");
        }
        return;
    };
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|e| e.path()).filter(|p| p.file_name() != keep.file_name()) {
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        if let Err(e) = removed {
            tracing::warn!(path = %path.display(), error = %e, "a part of the build root was not removed");
        }
    }
}
