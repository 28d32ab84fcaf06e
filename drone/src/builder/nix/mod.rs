//! Builds with Nix, in stores of the drone's own.
//!
//! | what | where |
//! |---|---|
//! | settings, the installed programs, and what they can build | [`NixConfig`], [`programs`], `machine` |
//! | a store: its directory, configuration, roots and garbage | `store` |
//! | running a Nix program within the limits of an attempt | `session`, `machine_log` |
//! | from a snapshot to the derivations of its attributes | `evaluation`, `jobs`, `enclosure`, `source`, `lock` |
//! | from those to a plan | `plan`, `graph`, `missing` |
//! | from an order to archives | `build`, `inputs`, `failure` |
//!
//! The drone has two stores, next to and independent of the machine's own: derivations and sources are
//! in the one for evaluation, which never has an output, and all that is built or fetched is in the
//! other. Nix calls both `/nix/store`, so the store paths are those of every other machine.

mod build;
mod enclosure;
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
    collections::BTreeSet,
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

/// How long it is believed that the installed Nix has not changed.
const EXAMINED_EVERY: Duration = Duration::from_secs(60);

/// Number of store paths that are remembered.
const REMEMBERED: usize = 200_000;

/// Interval between measurements of a store.
const MEASURED_EVERY: Duration = Duration::from_secs(600);

/// Builds with Nix what a snapshot says of its source.
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

/// What all attempts that use Nix share. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Nix(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Held while a snapshot is evaluated and while the store for evaluation is cleaned.
    evaluating: tokio::sync::Mutex<()>,
    /// Held while derivations are copied from one store to the other.
    copying: tokio::sync::Mutex<()>,
    /// When the stores were last measured.
    measured: Mutex<Option<Instant>>,
    /// The snapshots whose evaluations were checked since the start.
    checked: Mutex<BTreeSet<Digest>>,
    /// Store paths that are in the store that is built in, as far as that is known.
    present: Mutex<BTreeSet<String>>,
    /// The installed Nix, and when it was examined.
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

    /// The installed Nix.
    fn programs(&self, config: &NixConfig) -> Result<Programs, String> {
        let mut known = locked(&self.0.programs);
        if let Some((then, programs)) = &*known
            && then.elapsed() < EXAMINED_EVERY
        {
            return Ok(programs.clone());
        }
        let programs = find(config)?.ok_or("Nix is not installed here, or builder.nix.enabled is false")?;
        *known = Some((Instant::now(), programs.clone()));
        Ok(programs)
    }

    /// The snapshots whose evaluations were checked since the start.
    fn checked(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        locked(&self.0.checked)
    }

    /// Whether a path was seen in the store that is built in, and is still there.
    fn is_present(&self, building: &store::Store, path: &str) -> bool {
        locked(&self.0.present).contains(path) && building.file(path).symlink_metadata().is_ok()
    }

    /// Notes that these paths are in the store that is built in.
    fn remember<'p>(&self, paths: impl IntoIterator<Item = &'p str>) {
        let mut present = locked(&self.0.present);
        present.extend(paths.into_iter().map(str::to_owned));
        if present.len() > REMEMBERED {
            present.clear();
        }
    }

    /// Forgets what is in the store that is built in, so that Nix is asked again.
    fn forget(&self) {
        locked(&self.0.present).clear();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what attempts of an earlier start kept in the stores.
pub(super) fn forget_attempts(builder: &BuilderConfig) {
    let dir = builder.nix.store_dir(&builder.cache_dir);
    for name in [EVALUATION, BUILD] {
        let forgotten = store::forget_attempts(&dir.join(name));
        if let Err(error) = forgotten {
            tracing::warn!(%error, dir = %dir.display(), "roots of earlier builds cannot be removed");
        }
    }
}

/// Directory of the store for evaluation.
const EVALUATION: &str = "evaluation";
/// Directory of the store that is built in.
const BUILD: &str = "build";

/// What Nix builds of an unpacked snapshot; `None` if the snapshot is for Portage.
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
