//! Carries out an assignment: makes a plan, builds packages, or makes a base.
//!
//! [`run`] is the entry point. It reports progress as [`BuildNote`]s, returns exactly one
//! [`BuildEnd`], and leaves no process behind; of the attempt's directory only the returned files
//! remain. It makes no decisions: what to build, whether to retry and who is at fault is up to the
//! orchestrator.

mod base;
mod emerge;
mod errors;
mod failure;
mod fetch;
mod first;
mod install;
mod lack;
mod log;
pub mod nix;
mod plan;
mod portage;
mod steps;

pub(crate) use failure::of as failure;
pub use install::Larder;

use crate::{
    buildroot::{self, Ingredients, Root, RootError},
    config::BuilderConfig,
};
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

/// The input of a build.
#[derive(Debug, Clone)]
pub struct BuildContext {
    /// The assignment.
    pub assignment: Assignment,
    /// Read-only directory of the unpacked snapshot. For a layered snapshot it holds only the
    /// manifest and `etc`.
    pub snapshot: PathBuf,
    /// The layers of the snapshot, lowest first; empty if it is a single directory.
    pub snapshot_layers: Vec<PathBuf>,
    /// The caches of package files, layers and bases.
    pub larder: Larder,
    /// Directories of the drone that builds must not see: credential, spool, caches.
    pub hidden: Vec<PathBuf>,
    /// The directory of the jobserver's pipe, if there is one.
    pub jobserver: Option<PathBuf>,
    /// The drone's builder settings.
    pub config: BuilderConfig,
    /// A new directory for this attempt. Everything in it except the returned files is removed at the
    /// end.
    pub attempt_dir: PathBuf,
}

/// Progress of a running build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildNote {
    /// The attempt has entered this phase.
    Phase(Phase),
    /// A piece of the log, as raw bytes.
    Log(Vec<u8>),
}

/// The result of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildEnd {
    /// All packages were built.
    Built {
        /// The package files in the order of the targets, below the attempt's directory.
        files: Vec<PathBuf>,
        /// Resources used.
        usage: Usage,
    },
    /// The plan was made.
    Planned {
        /// The plan.
        plan: PlanReport,
        /// Resources used.
        usage: Usage,
    },
    /// The base was made and works.
    Based {
        /// Resources used.
        usage: Usage,
    },
    /// The attempt failed.
    Failed {
        /// The failure.
        failure: Failure,
        /// Resources used.
        usage: Usage,
    },
    /// The attempt was cancelled.
    Cancelled,
}

/// Why an attempt ended without a result.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It failed.
    Failed(Failure),
    /// It was cancelled.
    Cancelled,
}

impl Stop {
    /// A failure of the drone itself, without program output.
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
            // Every drone would reject what the orchestrator sent.
            RootError::Snapshot(_) | RootError::TooManyLayers(_) => FailureClass::Infra,
        };
        Self::failed(class, Phase::Preparing, error.to_string())
    }
}

/// Runs the attempt to its end. When `cancel` fires, all its processes are killed before this
/// returns.
pub async fn run(context: BuildContext, notes: Sender<BuildNote>, cancel: CancellationToken) -> BuildEnd {
    let started = Instant::now();
    let mut steps = steps::Steps::new(&context, notes, cancel, started);
    let result = match base::ready(&context, &mut steps).await {
        // Keeps the base in the cache until the work is done.
        Ok(base) => {
            let within = base.as_ref().map(|base| context.within(&base.path()));
            work(within.as_ref().unwrap_or(&context), &mut steps).await
        }
        Err(stop) => Err(stop),
    };
    let usage = steps.usage(started);
    let keep = match &result {
        Ok(Done::Built(files)) => files.first().and_then(|file| {
            let above = file.ancestors().find(|above| above.parent() == Some(&context.attempt_dir));
            above.map(Path::to_owned)
        }),
        _ => None,
    };
    let dir = context.attempt_dir.clone();
    if let Err(e) = tokio::task::spawn_blocking(move || clear(&dir, keep.as_deref())).await {
        tracing::warn!(attempt = %context.assignment.attempt, error = %e, "cannot remove the build root");
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
    /// The parameters of this attempt's build root, without layers.
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
            gone: Vec::new(),
            planning: self.assignment.work == Work::Plan,
        }
    }

    /// The same context with a base that was made for it.
    fn within(&self, base: &Path) -> Self {
        Self { config: self.config.within(base), ..self.clone() }
    }

    /// Makes the attempt's build root with these layers and without these paths of the base.
    async fn root(&self, layers: Vec<PathBuf>, gone: Vec<PathBuf>) -> Result<Root, Stop> {
        let context = self.clone();
        let made = tokio::task::spawn_blocking(move || {
            Root::make(Ingredients { layers, gone, ..context.ingredients() })
        });
        let broken = |e| format!("the task creating the build root panicked: {e}");
        let made = made.await.map_err(|e| Stop::failed(FailureClass::Drone, Phase::Preparing, broken(e)))?;
        Ok(made?)
    }
}

async fn work(context: &BuildContext, steps: &mut steps::Steps) -> Result<Done, Stop> {
    steps.phase(Phase::Preparing).await;
    let nix = nix::source(&context.snapshot);
    let nix = nix.map_err(|why| Stop::failed(FailureClass::Infra, Phase::Preparing, why))?;
    match (&context.assignment.work, nix) {
        (Work::Plan, Some(source)) => nix::plan(context, &source, steps).await.map(Done::Planned),
        (Work::Build(order), Some(source)) => {
            nix::build(context, &source, order, steps).await.map(Done::Built)
        }
        (Work::Plan, None) => {
            let root = context.root(Vec::new(), Vec::new()).await?;
            plan::plan(&root, steps).await.map(Done::Planned)
        }
        // [`run`] has already made the base.
        (Work::Base, _) => Ok(Done::Based),
        (Work::Build(order), None) => {
            let installed = install::prepare(context, &order.dependencies, steps).await?;
            let layers = installed.layers.iter().map(|layer| layer.path()).collect();
            let root = context.root(layers, installed.gone()?).await?;
            let before = root.live_packages();
            let built = match install::install(&root, &installed.ordered, steps).await {
                Ok(()) => portage::build(&root, order, steps).await.map(Done::Built),
                Err(stop) => Err(stop),
            };
            let (from, to) = (root.outside().distfiles.clone(), root.outside().shared_distfiles.clone());
            if let Err(error) = buildroot::keep_distfiles(&from, &to) {
                tracing::warn!(%error, "cannot keep downloaded files");
            }
            tell_changes(&root, before, steps).await;
            built
        }
    }
}

/// Reports the packages that a build in a live root added to or removed from this machine.
async fn tell_changes(root: &Root, before: Option<BTreeSet<String>>, steps: &mut steps::Steps) {
    let (Some(before), Some(after)) = (before, root.live_packages()) else { return };
    let names = |a: &BTreeSet<String>, b: &BTreeSet<String>| {
        let names: Vec<&str> = a.difference(b).map(String::as_str).collect();
        if names.is_empty() { "nothing".to_owned() } else { names.join(" ") }
    };
    let (installed, removed) = (names(&after, &before), names(&before, &after));
    tracing::info!(%installed, %removed, "this machine's own root was changed");
    let text = format!("live: installed on this machine: {installed}; removed: {removed}");
    steps.log.say(&text).await;
}

/// Removes the attempt's directory, except `keep`.
fn clear(dir: &Path, keep: Option<&Path>) {
    let Some(keep) = keep else {
        if let Err(e) = std::fs::remove_dir_all(dir) {
            tracing::warn!(dir = %dir.display(), error = %e, "cannot remove the build root");
        }
        return;
    };
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|e| e.path()).filter(|p| p.file_name() != keep.file_name()) {
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        if let Err(e) = removed {
            tracing::warn!(path = %path.display(), error = %e, "cannot remove a part of the build root");
        }
    }
}
