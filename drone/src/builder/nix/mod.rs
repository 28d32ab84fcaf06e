//! Builds with Nix, in the drone's own stores.
//!
//! | what | where |
//! |---|---|
//! | settings, the installed programs, and what they can build | [`NixConfig`], [`programs`], `machine` |
//! | a store: its directory, configuration, roots and garbage | `store` |
//! | running a Nix program within the limits of an attempt | `session`, `machine_log` |
//! | from a snapshot to the derivations of its attributes | `evaluation`, `jobs`, `sandbox`, `source`, `lock` |
//! | from those to a plan | `plan`, `graph`, `missing` |
//! | from the drone that plans to those that build | `derivations` |
//! | from an order to archives | `build`, `inputs`, `server`, `failure` |
//!
//! The drone has two stores, which are independent of the machine's own. The evaluation store contains
//! derivations and sources but never an output; the build store contains everything that is built or fetched.
//! Both are `/nix/store` to Nix, so store paths are the same as on any other machine.
//!
//! A drone evaluates a snapshot to plan it, to upload its sources, and to build from it if the plan came without
//! its derivations.

mod build;
mod derivations;
mod evaluation;
mod failure;
mod graph;
mod inputs;
mod jobs;
mod lock;
mod machine;
mod machine_log;
mod missing;
mod plan;
mod programs;
mod sandbox;
mod server;
mod session;
mod source;
mod store;

pub(super) use machine::equipment;
pub use programs::{Programs, find};

use crate::{
    builder::{BuildContext, Builder, Product, Stop, steps::Steps},
    config::{BuilderConfig, NixConfig},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use swarm_common::{
    digest::Digest,
    wire::{drone::BuildOrder, plan::PlanReport},
};
use swarm_formats::snapshot::{MANIFEST, NixSource, SnapshotManifest};
use tokio_util::sync::CancellationToken;

/// How often to check whether the installed Nix has changed.
const EXAMINED_EVERY: Duration = Duration::from_secs(60);

/// Maximum number of store paths to remember.
const REMEMBERED: usize = 200_000;

/// Interval between measurements of a store.
const MEASURED_EVERY: Duration = Duration::from_secs(600);

/// Builds what the manifest of a snapshot describes as its source.
pub(super) struct NixBuilder<'a> {
    pub(super) context: &'a BuildContext,
    pub(super) source: NixSource,
}

impl Builder for NixBuilder<'_> {
    async fn plan(&self, steps: &mut Steps) -> Result<PlanReport, Stop> {
        plan::plan(self.context, &self.source, steps).await
    }

    async fn build(&self, order: &BuildOrder, steps: &mut Steps) -> Result<Product, Stop> {
        build::build(self.context, &self.source, order, steps).await
    }
}

/// State shared by all attempts that use Nix. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Nix(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Held while a snapshot is evaluated and while the evaluation store is cleaned.
    evaluating: tokio::sync::Mutex<()>,
    /// Held while derivations are copied between the stores, or unpacked.
    copying: tokio::sync::Mutex<()>,
    /// When the stores were last measured.
    measured: Mutex<Option<Instant>>,
    /// The snapshots whose evaluations were checked since the start.
    checked: Mutex<BTreeSet<Digest>>,
    /// Store paths known to be in the build store.
    present: Mutex<BTreeSet<String>>,
    /// Sources in the evaluation store, with what they refer to.
    sources: Mutex<BTreeMap<String, Vec<String>>>,
    /// Processes that wait for the next build.
    servers: server::Servers,
    /// The installed Nix, and when it was last examined.
    programs: Mutex<Option<(Instant, Programs)>>,
}

impl Nix {
    /// Whether the stores should be measured now.
    fn is_measuring_due(&self) -> bool {
        let mut measured = locked(&self.0.measured);
        let is_due = measured.is_none_or(|then| then.elapsed() >= MEASURED_EVERY);
        if is_due {
            *measured = Some(Instant::now());
        }
        is_due
    }

    /// Has the next attempt measure the stores, because a build has filled the disk.
    fn measure_soon(&self) {
        *locked(&self.0.measured) = None;
    }

    /// Waits until no other attempt evaluates or cleans.
    async fn evaluating<'s>(
        &'s self,
        cancel: &CancellationToken,
    ) -> Result<tokio::sync::MutexGuard<'s, ()>, Stop> {
        tokio::select! {
            turn = self.0.evaluating.lock() => Ok(turn),
            () = cancel.cancelled() => Err(Stop::Cancelled),
        }
    }

    fn programs(&self, config: &NixConfig) -> Result<Programs, String> {
        let mut cached = locked(&self.0.programs);
        if let Some((then, programs)) = &*cached
            && then.elapsed() < EXAMINED_EVERY
        {
            return Ok(programs.clone());
        }
        let programs = find(config)?.ok_or("Nix is not installed here, or builder.nix.enabled is false")?;
        *cached = Some((Instant::now(), programs.clone()));
        Ok(programs)
    }

    fn checked(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        locked(&self.0.checked)
    }

    /// Whether a path was seen in the build store and is still there.
    fn is_present(&self, building: &store::Store, path: &str) -> bool {
        locked(&self.0.present).contains(path) && building.has(path)
    }

    /// Records that these paths are in the build store.
    fn remember<'p>(&self, paths: impl IntoIterator<Item = &'p str>) {
        let mut present = locked(&self.0.present);
        present.extend(paths.into_iter().map(str::to_owned));
        if present.len() > REMEMBERED {
            present.clear();
        }
    }

    /// Records that these sources are in the evaluation store, with what they refer to.
    fn remember_sources(&self, found: &BTreeMap<String, Vec<String>>) {
        let mut sources = locked(&self.0.sources);
        if sources.len() + found.len() > REMEMBERED {
            sources.clear();
        }
        sources.extend(found.iter().map(|(path, references)| (path.clone(), references.clone())));
    }

    /// Sources with what they refer to, if all of them were seen in the evaluation store and are still there.
    fn sources(&self, evaluation: &store::Store, paths: &[&str]) -> Option<Vec<(String, Vec<String>)>> {
        let sources = locked(&self.0.sources);
        let find = |&path: &&str| {
            let references = sources.get(path).filter(|_| evaluation.has(path))?;
            Some((path.to_owned(), references.clone()))
        };
        paths.iter().map(find).collect()
    }

    /// Forgets what is in the stores, so that Nix is asked again.
    fn forget(&self) {
        locked(&self.0.present).clear();
        locked(&self.0.sources).clear();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes from the stores what attempts before the last start kept.
pub(super) fn forget_attempts(builder: &BuilderConfig) {
    let dir = builder.nix.store_dir(&builder.cache_dir);
    for name in [EVALUATION, BUILD] {
        let forgotten = store::forget_attempts(&dir.join(name));
        if let Err(error) = forgotten {
            tracing::warn!(%error, dir = %dir.display(), "cannot remove the roots of earlier builds");
        }
    }
}

/// Directory of the evaluation store.
const EVALUATION: &str = "evaluation";
/// Directory of the build store.
const BUILD: &str = "build";

/// The Nix source that the manifest of an unpacked snapshot describes; `None` if the snapshot is for Portage.
///
/// # Errors
/// The manifest cannot be read.
pub(super) fn source(snapshot: &Path) -> Result<Option<NixSource>, String> {
    let text = std::fs::read(snapshot.join(MANIFEST)).map_err(|error| format!("{MANIFEST}: {error}"))?;
    let manifest: SnapshotManifest =
        serde_json::from_slice(&text).map_err(|error| format!("{MANIFEST}: {error}"))?;
    manifest.check().map_err(|error| error.to_string())?;
    Ok(manifest.nix)
}
