//! Builds with Portage, in a separate build root for each attempt.
//!
//! | what | where |
//! |---|---|
//! | a base with additional packages | `base` |
//! | a build root, with Portage's configuration | `root` |
//! | running a program, and `emerge`, in a build root | `step`, `emerge` |
//! | from the world set of a snapshot to a plan | `plan` |
//! | from an order to package files | `install`, `build` |
//! | what Portage prints, and what it says of downloads | `marks`, `fetch` |
//! | what this machine lacks for Portage | `equipment` |

mod base;
mod build;
mod emerge;
mod equipment;
mod fetch;
mod install;
mod marks;
mod plan;
mod root;
mod step;

pub(super) use equipment::lacks;
pub(super) use root::prune_cache;

use super::{BuildContext, Builder, Product, Stop, steps::Steps};
use crate::buildroot::{RootError, layers::Layer};
use root::{Root, RootOptions};
use std::{collections::BTreeSet, path::PathBuf};
use swarm_common::{
    state::{FailureClass, Phase},
    wire::{
        drone::{BuildOrder, Work},
        plan::PlanReport,
    },
};

/// Builds with Portage in the base of an attempt.
pub(super) struct PortageBuilder {
    /// The attempt, with a base that contains all its packages.
    context: BuildContext,
    /// Keeps the base in the cache until the work is done.
    _base: Option<Layer>,
}

impl PortageBuilder {
    /// Makes the attempt's base, unless an earlier attempt made it.
    pub(super) async fn new(context: &BuildContext, steps: &mut Steps) -> Result<Self, Stop> {
        steps.log.expect(&marks::MARKS);
        let base = base::ready(context, steps).await?;
        let config = match &base {
            Some(base) => context.config.within(&base.path()),
            None => context.config.clone(),
        };
        Ok(Self { context: BuildContext { config, ..context.clone() }, _base: base })
    }
}

impl Builder for PortageBuilder {
    async fn plan(&self, steps: &mut Steps) -> Result<PlanReport, Stop> {
        let root = self.context.root(Vec::new(), Vec::new()).await?;
        plan::plan(&root, steps).await
    }

    async fn build(&self, order: &BuildOrder, steps: &mut Steps) -> Result<Product, Stop> {
        let installed = install::prepare(&self.context, &order.dependencies, steps).await?;
        let layers = installed.layers.iter().map(|layer| layer.path()).collect();
        let root = self.context.root(layers, installed.gone()?).await?;
        let before = root.live_packages();
        let built = match install::install(&root, &installed.ordered, steps).await {
            Ok(()) => build::build(&root, order, steps).await.map(Product::from),
            Err(stop) => Err(stop),
        };
        let (from, to) = (root.outside().distfiles.clone(), root.outside().shared_distfiles.clone());
        if let Err(error) = root::keep_distfiles(&from, &to) {
            tracing::warn!(%error, "cannot keep downloaded files");
        }
        tell_changes(&root, before, steps).await;
        built
    }
}

impl BuildContext {
    /// The parameters of this attempt's build root, without layers.
    fn root_options(&self) -> RootOptions<'_> {
        RootOptions {
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

    /// Makes the attempt's build root with these layers. `gone` are paths of the base to hide.
    async fn root(&self, layers: Vec<PathBuf>, gone: Vec<PathBuf>) -> Result<Root, Stop> {
        let context = self.clone();
        let made = tokio::task::spawn_blocking(move || {
            Root::make(RootOptions { layers, gone, ..context.root_options() })
        });
        let broken = |e| format!("the task creating the build root panicked: {e}");
        let made = made.await.map_err(|e| Stop::failed(FailureClass::Drone, Phase::Preparing, broken(e)))?;
        Ok(made?)
    }
}

impl From<RootError> for Stop {
    fn from(error: RootError) -> Self {
        let class = match error {
            RootError::Io { .. } | RootError::NoPortage(..) | RootError::NotRoot | RootError::NotOurs(_) => {
                FailureClass::Drone
            }
            // Every drone would reject this input from the orchestrator.
            RootError::Snapshot(_) | RootError::TooManyLayers(_) => FailureClass::Infra,
        };
        Self::failed(class, Phase::Preparing, error.to_string())
    }
}

/// Logs the packages that a build in a live root added to or removed from this machine.
async fn tell_changes(root: &Root, before: Option<BTreeSet<String>>, steps: &mut Steps) {
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
