//! Verifies everything that is stored: the journal's hash chain and snapshots, every package with
//! its entry and file list, published copies and indexes, archives of snapshots and bases. What can
//! be derived from intact data is repaired; other damage is reported with what to do.
//!
//! `swarmctl audit verify` runs the audit at full speed, the [pass](crate::passes::scrub) slowly.

mod nix;
mod portage;
mod verifier;

pub use nix::Nix;
pub use portage::Portage;
pub use verifier::Verifier;

use crate::{
    engine::Engine,
    kinds::PerKind,
    publish::{Binhosts, Progress},
    store::{ArtifactStore, StoreError, disk, images::Images, snapshots::Snapshots},
};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};
use swarm_common::{
    digest::Digest,
    wire::{
        admin::BuilderKind, artifact::Artifact, channel::ChannelName, concern::ConcernKind, view::AuditView,
    },
};
use swarm_core::{Swarm, base, retention, state::Profile};
use swarm_formats::archive::digests::FileHasher;
use tokio::{task::JoinError, time};
use verifier::Damage;

/// How long to wait for the publisher to rewrite damaged indexes.
const MENDED_WITHIN: Duration = Duration::from_secs(30);

/// Bytes per second at the slow pace.
const SLOW: u64 = 16 * 1024 * 1024;

/// How fast files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    Fast,
    /// Slow enough not to disturb other work.
    Slow,
}

impl Pace {
    /// Pauses after reading so many bytes, to keep the pace.
    async fn after(self, bytes: u64) {
        if self == Self::Slow {
            time::sleep(Duration::from_millis(bytes.saturating_mul(1000) / SLOW)).await;
        }
    }
}

/// Problems found by the last audit.
#[derive(Debug, Default)]
pub struct Audited(Mutex<Vec<String>>);

impl Audited {
    pub fn keep(&self, faults: Vec<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// The problems as a concern; `None` if there are none.
    #[must_use]
    pub fn concern(&self) -> Option<ConcernKind> {
        let faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = faults.first()?.clone();
        Some(ConcernKind::StoreDamaged { faults: faults.len() as u64, first })
    }
}

pub struct Auditor {
    /// Access to journal and state.
    pub engine: Engine,
    pub store: Arc<dyn ArtifactStore>,
    pub verifiers: PerKind<Arc<dyn Verifier>>,
    pub snapshots: Snapshots,
    pub images: Images,
    pub binhosts: Binhosts,
    pub published: Arc<Progress>,
    pub audited: Audited,
}

impl Auditor {
    /// Collects what `look` finds in the published directories of each kind of builder.
    fn collect<T>(&self, kept: &Kept, look: impl Fn(&dyn Verifier, &[&Path]) -> Vec<T>) -> Vec<T> {
        self.verifiers.iter().flat_map(|(kind, verifier)| look(&**verifier, &kept.hosts_of(kind))).collect()
    }
}

/// What the audit has to verify.
struct Kept {
    artifacts: Vec<Artifact>,
    snapshots: BTreeSet<Digest>,
    images: BTreeSet<Digest>,
    derivations: BTreeSet<Digest>,
    /// The published directories.
    hosts: Vec<(BuilderKind, PathBuf)>,
}

impl Kept {
    fn of(auditor: &Auditor, swarm: &Swarm) -> Self {
        let channels = swarm.profiles.iter().flat_map(|(name, profile)| {
            let published = ChannelName::ALL.into_iter().filter(|channel| profile.published(*channel) > 0);
            let dirs = published.map(move |channel| auditor.binhosts.channel(name, channel));
            dirs.map(|dir| (profile.request.builder, dir))
        });
        let under_way = swarm.runs.iter().filter(|(_, run)| !run.state.is_over());
        let of_runs = under_way.filter_map(|(&id, run)| {
            let kind = swarm.profiles.get(&run.profile)?.request.builder;
            Some((kind, auditor.binhosts.run(&run.profile, id)))
        });
        Self {
            artifacts: retention::artifacts(swarm, None),
            snapshots: swarm.profiles.values().flat_map(Profile::snapshots).collect(),
            images: base::needed(swarm).filter_map(|base| base.image()).collect(),
            derivations: retention::derivations(swarm),
            hosts: channels.chain(of_runs).collect(),
        }
    }

    /// The directories in which artifacts of this kind of builder are published.
    fn hosts_of(&self, kind: BuilderKind) -> Vec<&Path> {
        let hosts = self.hosts.iter().filter(|(of, _)| *of == kind);
        hosts.map(|(_, dir)| dir.as_path()).collect()
    }
}

/// Verifies everything and records the faults.
///
/// # Errors
/// A task of the audit panicked.
pub async fn audit(auditor: &Arc<Auditor>, pace: Pace) -> Result<AuditView, JoinError> {
    let (mut faults, mut mended) = (Vec::new(), Vec::new());
    let (events, head) = match auditor.engine.audit().await {
        Ok((whole, beside)) => {
            faults.extend(beside);
            (whole.events, whole.head)
        }
        Err(error) => {
            faults.push(format!("the journal: {error}"));
            (0, Digest([0; 32]))
        }
    };
    let kept = Arc::new(auditor.engine.read(|swarm| Kept::of(auditor, swarm)));
    let artifacts = kept.artifacts.len() as u64;
    for artifact in &kept.artifacts {
        let (shared, one) = (auditor.clone(), artifact.clone());
        match tokio::task::spawn_blocking(move || of_artifact(&shared, &one)).await? {
            Ok(made_anew) => mended.extend(made_anew),
            // The artifact may have been removed meanwhile.
            Err(fault) if is_kept(auditor, artifact.digest) => faults.push(fault),
            Err(_) => {}
        }
        pace.after(artifact.size).await;
    }
    let archives = kept.snapshots.iter().map(|&digest| (digest, Archive::Snapshot));
    for (digest, archive) in archives.chain(kept.images.iter().map(|&digest| (digest, Archive::Image))) {
        let shared = auditor.clone();
        match tokio::task::spawn_blocking(move || archive.verify(&shared, digest)).await? {
            Ok(size) => pace.after(size).await,
            Err(fault) => faults.push(fault),
        }
    }
    for &digest in &kept.derivations {
        let shared = auditor.clone();
        match tokio::task::spawn_blocking(move || of_derivations(&shared, digest)).await? {
            Ok(removed) => mended.extend(removed),
            Err(fault) => faults.push(fault.to_string()),
        }
    }
    for (made_whole, damaged) in
        [copies_of_packages(auditor, &kept, pace).await?, indexes(auditor, kept).await?]
    {
        mended.extend(made_whole);
        faults.extend(damaged);
    }
    for what in &mended {
        tracing::warn!(what, "repaired damaged stored data");
    }
    for what in &faults {
        tracing::error!(what, "stored data is damaged");
    }
    auditor.audited.keep(faults.clone());
    Ok(AuditView { events, head, artifacts, faults, mended })
}

fn is_kept(auditor: &Auditor, digest: Digest) -> bool {
    auditor
        .engine
        .read(|swarm| retention::artifacts(swarm, None).iter().any(|artifact| artifact.digest == digest))
}

/// Verifies an artifact. Returns what was repaired, if anything, or the fault.
fn of_artifact(auditor: &Auditor, artifact: &Artifact) -> Result<Option<String>, String> {
    let verifier = auditor.verifiers.get(artifact.target.builder());
    verifier.artifact(artifact).map_err(|Damage { name, why, of_disk }| {
        let next = match of_disk {
            true => "check that disk".to_owned(),
            false => format!("rebuild it: `swarmctl rebuild {}`", artifact.target.family()),
        };
        format!("{name} in {}: {why}; {next}", auditor.store.describe(artifact.digest))
    })
}

/// Verifies the derivations of a plan, and removes them if they are damaged: drones can do without them.
fn of_derivations(auditor: &Auditor, digest: Digest) -> Result<Option<String>, StoreError> {
    match auditor.store.verify(digest) {
        Ok(_) | Err(StoreError::Absent(_)) => Ok(None),
        Err(StoreError::Damaged { .. }) => {
            let now = SystemTime::UNIX_EPOCH + Duration::from_millis(auditor.engine.now().0);
            auditor.store.remove(digest, now)?;
            let at = auditor.store.describe(digest);
            Ok(Some(format!(
                "the derivations of a plan in {at} were damaged: removed, drones evaluate the source"
            )))
        }
        Err(error) => Err(error),
    }
}

#[derive(Debug, Clone, Copy)]
enum Archive {
    Snapshot,
    Image,
}

impl Archive {
    /// Verifies an archive. Returns its size in bytes, or the fault.
    fn verify(self, auditor: &Auditor, digest: Digest) -> Result<u64, String> {
        let verified = match self {
            Self::Snapshot => auditor.snapshots.verify(digest),
            Self::Image => auditor.images.verify(digest),
        };
        verified.map_err(|fault| format!("{fault}; {}", self.next()))
    }

    fn next(self) -> &'static str {
        match self {
            Self::Snapshot => "remove the file and update the profile with `swarmctl profile update`",
            Self::Image => "remove the file and update the base with `swarmctl base update`",
        }
    }
}

/// What was repaired, and the remaining faults.
type Found = (Vec<String>, Vec<String>);

/// Verifies published packages that are copies of stored files instead of hard links, and replaces
/// damaged ones.
async fn copies_of_packages(
    auditor: &Arc<Auditor>,
    kept: &Arc<Kept>,
    pace: Pace,
) -> Result<Found, JoinError> {
    let (shared, all) = (auditor.clone(), kept.clone());
    let look = move || shared.collect(&all, |verifier, dirs| verifier.copies(dirs, &all.artifacts));
    let (mut mended, mut faults) = (Vec::new(), Vec::new());
    for (digest, size, path) in tokio::task::spawn_blocking(look).await? {
        let shared = auditor.clone();
        match tokio::task::spawn_blocking(move || of_copy(&shared, digest, &path)).await? {
            Ok(copied_again) => mended.extend(copied_again),
            Err(fault) => faults.push(fault),
        }
        pace.after(size).await;
    }
    Ok((mended, faults))
}

/// Verifies a copy. Returns what was repaired, if anything, or the fault.
fn of_copy(auditor: &Auditor, digest: Digest, path: &Path) -> Result<Option<String>, String> {
    match File::open(path).and_then(FileHasher::read_all) {
        Ok(read) if read.sha256 == digest => return Ok(None),
        // No longer published.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Ok(_) | Err(_) => {}
    }
    let _writing = auditor.binhosts.write();
    match mend(&*auditor.store, digest, path) {
        Ok(()) => Ok(Some(format!("{} did not match the store; published again", path.display()))),
        Err(error) => Err(format!("{} is damaged and could not be published again: {error}", path.display())),
    }
}

/// Replaces a damaged copy with the stored file, if that is intact. Keeps the modification time.
fn mend(store: &dyn ArtifactStore, digest: Digest, path: &Path) -> Result<(), StoreError> {
    store.verify(digest)?;
    let modified = fs::metadata(path).and_then(|meta| meta.modified()).ok();
    store.link(digest, path, modified)?;
    Ok(disk::sync_dir(path.parent().unwrap_or(path))?)
}

/// Compares the published indexes with the stored entries, and has the publisher rewrite damaged
/// ones. Returns what was repaired, and the remaining faults.
async fn indexes(auditor: &Arc<Auditor>, kept: Arc<Kept>) -> Result<Found, JoinError> {
    let look = || {
        let (auditor, kept) = (auditor.clone(), kept.clone());
        tokio::task::spawn_blocking(move || damaged_indexes(&auditor, &kept))
    };
    let before = look().await?;
    if before.is_empty() {
        return Ok((before, Vec::new()));
    }
    let mut after = before.clone();
    if auditor.engine.leads().is_ok() {
        let mut passes = auditor.published.passes();
        auditor.binhosts.doubt();
        let end = time::Instant::now() + MENDED_WITHIN;
        // A pass that was already running may have finished without rewriting them.
        while !after.is_empty() && matches!(time::timeout_at(end, passes.changed()).await, Ok(Ok(()))) {
            after = look().await?;
        }
    }
    let mended = before.into_iter().filter(|fault| !after.contains(fault));
    Ok((mended.map(|fault| format!("{fault}; rewritten")).collect(), after))
}

fn damaged_indexes(auditor: &Auditor, kept: &Kept) -> Vec<String> {
    let _writing = auditor.binhosts.write();
    auditor.collect(kept, |verifier, dirs| verifier.faults(dirs, &kept.artifacts))
}
