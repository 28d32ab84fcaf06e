//! Carries out an assignment: makes a plan, builds packages, or makes a base.
//!
//! [`run`] is the entry point. It reports progress as [`BuildUpdate`]s, returns exactly one [`BuildEnd`], and
//! leaves no process behind; of the attempt's directory only the returned files remain. It makes no
//! decisions: the orchestrator decides what to build, whether to retry, and what is at fault.

mod build_caches;
mod errors;
mod failure;
mod first_error;
mod log;
mod marks;
mod missing_resource;
pub mod nix;
mod portage;
mod steps;

pub use build_caches::BuildCaches;
pub(crate) use failure::of as failure;

use crate::{artifacts::ArtifactError, config::BuilderConfig};
use nix::NixBuilder;
use portage::PortageBuilder;
use std::{
    path::{Path, PathBuf},
    time::Instant,
};
use steps::Steps;
use swarm_common::{
    state::{FailureClass, Phase},
    wire::{
        drone::{Assignment, BuildOrder, Failure, Usage, Work},
        nix::NixMachine,
        plan::PlanReport,
    },
};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone)]
pub struct BuildContext {
    pub assignment: Assignment,
    /// Read-only directory of the unpacked snapshot. For a layered snapshot it contains only the manifest and
    /// `etc`.
    pub snapshot: PathBuf,
    /// The layers of the snapshot, lowest first; empty if it is a single directory.
    pub snapshot_layers: Vec<PathBuf>,
    /// The caches of package files, layers and bases.
    pub caches: BuildCaches,
    /// Directories of the drone that builds must not see: credential, spool, caches.
    pub hidden: Vec<PathBuf>,
    /// The directory of the jobserver's pipe, if there is one.
    pub jobserver: Option<PathBuf>,
    pub config: BuilderConfig,
    /// A new directory for this attempt. Everything in it except the returned files is removed at the
    /// end.
    pub attempt_dir: PathBuf,
}

/// Progress of a running build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildUpdate {
    /// The attempt has entered this phase.
    Phase(Phase),
    /// A piece of the log, as raw bytes.
    Log(Vec<u8>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildEnd {
    Built {
        /// The package files in the order of the targets, below the attempt's directory.
        files: Vec<PathBuf>,
        /// For Nix: the references of each file, as base names of store paths.
        references: Vec<Vec<String>>,
        usage: Usage,
    },
    Planned {
        plan: PlanReport,
        usage: Usage,
    },
    /// The base was made and works.
    Based {
        usage: Usage,
    },
    Failed {
        failure: Failure,
        usage: Usage,
    },
    Cancelled,
}

#[derive(Debug)]
pub(crate) enum Stop {
    Failed(Failure),
    Cancelled,
}

impl Stop {
    /// A failure of the drone itself, without program output.
    fn failed(class: FailureClass, phase: Phase, message: impl Into<String>) -> Self {
        Self::Failed(failure::of(class, phase, message.into()))
    }
}

impl From<ArtifactError> for Stop {
    fn from(error: ArtifactError) -> Self {
        let class = match error {
            ArtifactError::Disk { .. } => FailureClass::Drone,
            ArtifactError::Remote { .. } | ArtifactError::Other { .. } | ArtifactError::Alone(_) => {
                FailureClass::Infra
            }
        };
        Self::failed(class, Phase::Preparing, error.to_string())
    }
}

/// A kind of builder, prepared for one attempt together with the base to build in.
trait Builder {
    /// Makes the plan for the snapshot.
    fn plan(&self, steps: &mut Steps) -> impl Future<Output = Result<PlanReport, Stop>> + Send;

    /// Builds the order. Returns the files in the order of its targets.
    fn build(
        &self,
        order: &BuildOrder,
        steps: &mut Steps,
    ) -> impl Future<Output = Result<Product, Stop>> + Send;
}

/// The built files, in the order of the targets.
#[derive(Debug, Default)]
struct Product {
    files: Vec<PathBuf>,
    /// For Nix: the references of each file, as base names of store paths.
    references: Vec<Vec<String>>,
}

impl From<Vec<PathBuf>> for Product {
    fn from(files: Vec<PathBuf>) -> Self {
        Self { files, references: Vec::new() }
    }
}

/// What this machine has for building.
#[derive(Debug, Clone, Default)]
pub struct Equipment {
    /// Missing programs.
    pub lacks: Vec<String>,
    /// Version of the Nix that builds use; `None` without Nix.
    pub nix: Option<String>,
    /// The systems and features that this Nix supports.
    pub nix_machine: Option<Box<NixMachine>>,
}

/// Examines what this machine has for each kind of builder.
pub(crate) fn equipment(config: &BuilderConfig) -> Equipment {
    let (mut lacks, nix) = (portage::lacks(config), nix::equipment(&config.nix));
    lacks.extend(nix.lacks);
    Equipment { lacks, nix: nix.version, nix_machine: nix.machine }
}

/// Removes from the caches what attempts before the last start left, and what was not used for long.
pub(crate) fn clean_caches(config: &BuilderConfig) {
    nix::forget_attempts(config);
    if let Err(error) = portage::prune_cache(config) {
        tracing::warn!(%error, "cannot remove old files from the cache");
    }
}

/// Runs the attempt to its end. When `cancel` fires, all its processes are killed before this
/// returns.
pub async fn run(context: BuildContext, notes: Sender<BuildUpdate>, cancel: CancellationToken) -> BuildEnd {
    let started = Instant::now();
    let mut steps = Steps::new(&context, notes, cancel, started);
    let result = work(&context, &mut steps).await;
    let usage = steps.usage(started);
    let keep = match &result {
        Ok(Done::Built(product)) => product.files.first().and_then(|file| {
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
        Ok(Done::Built(Product { files, references })) => BuildEnd::Built { files, references, usage },
        Ok(Done::Planned(plan)) => BuildEnd::Planned { plan, usage },
        Ok(Done::Based) => BuildEnd::Based { usage },
        Err(Stop::Failed(failure)) => BuildEnd::Failed { failure, usage },
        Err(Stop::Cancelled) => BuildEnd::Cancelled,
    }
}

enum Done {
    Built(Product),
    Planned(PlanReport),
    Based,
}

/// Runs the builder for the snapshot's kind.
async fn work(context: &BuildContext, steps: &mut Steps) -> Result<Done, Stop> {
    steps.phase(Phase::Preparing).await;
    let nix = nix::source(&context.snapshot);
    let nix = nix.map_err(|why| Stop::failed(FailureClass::Infra, Phase::Preparing, why))?;
    match nix {
        Some(source) => work_with(&NixBuilder { context, source }, context, steps).await,
        None => work_with(&PortageBuilder::new(context, steps).await?, context, steps).await,
    }
}

async fn work_with(builder: &impl Builder, context: &BuildContext, steps: &mut Steps) -> Result<Done, Stop> {
    match &context.assignment.work {
        Work::Plan => builder.plan(steps).await.map(Done::Planned),
        Work::Build(order) => builder.build(order, steps).await.map(Done::Built),
        // The base was already made when the builder was created.
        Work::Base => Ok(Done::Based),
    }
}

/// Removes everything from the attempt's directory except `keep`.
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
