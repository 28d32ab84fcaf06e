//! Whether everything that is kept is whole: the journal's chain and snapshots, every package
//! and what is kept of it, the published indexes, archives of snapshots and bases. What
//! follows from something that is whole is made anew from it; the rest is named, with what to
//! do.
//!
//! `swarmctl audit verify` does it at once, the [pass](crate::pass_scrub) slowly.

use crate::{
    app::App,
    artifact::{entries::EntriesError, store::StoreError},
    publish::whole,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use swarm_common::{
    digest::Digest,
    format::{image, snapshot},
    wire::{artifact::Artifact, base::Base, view::AuditView},
};
use swarm_core::{
    Swarm, base,
    view::{self, Trouble},
};
use tokio::{task::JoinError, time};

/// How long the publisher may take to write a damaged index again.
const MENDED_WITHIN: Duration = Duration::from_secs(30);

/// Bytes that are read in a second when there is no hurry.
const SLOW: u64 = 16 * 1024 * 1024;

/// How fast files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As fast as the disk can.
    Fast,
    /// So that nobody else is held up by it.
    Slow,
}

impl Pace {
    /// Rests as long as reading so many bytes should have taken.
    async fn after(self, bytes: u64) {
        if self == Self::Slow {
            time::sleep(Duration::from_millis(bytes.saturating_mul(1000) / SLOW)).await;
        }
    }
}

/// What the last audit found wrong.
#[derive(Debug, Default)]
pub struct Audited(Mutex<Vec<String>>);

impl Audited {
    /// Notes what was found.
    pub fn keep(&self, faults: Vec<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// What is wrong, for people who look.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        let faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = faults.first()?;
        let what = match faults.len() {
            1 => format!("something that is kept is damaged: {first}"),
            n => format!("{n} things that are kept are damaged, the first: {first}"),
        };
        Some(Trouble::new(what, "swarmctl audit verify".into()))
    }
}

/// What is to be looked at.
struct Kept {
    artifacts: Vec<Artifact>,
    snapshots: BTreeSet<Digest>,
    images: BTreeSet<Digest>,
    /// Directories of published indexes.
    hosts: Vec<PathBuf>,
}

impl Kept {
    fn of(app: &App, swarm: &Swarm) -> Self {
        let image = |base| if let Base::Image { image, .. } = base { Some(image.digest) } else { None };
        let published = swarm.profiles.iter().filter(|(_, profile)| profile.generation > 0);
        let under_way = swarm.runs.iter().filter(|(_, run)| !run.state.is_over());
        Self {
            artifacts: view::artifacts(swarm, None),
            snapshots: swarm.profiles.values().map(|profile| profile.request.snapshot).collect(),
            images: base::needed(swarm).filter_map(image).collect(),
            hosts: published
                .map(|(name, _)| app.binhosts.stable(name))
                .chain(under_way.map(|(&id, run)| app.binhosts.run(&run.profile, id)))
                .collect(),
        }
    }
}

/// Looks at everything, and notes what was found.
///
/// # Errors
/// A defect broke it off.
pub async fn audit(app: &Arc<App>, pace: Pace) -> Result<AuditView, JoinError> {
    let (mut faults, mut mended) = (Vec::new(), Vec::new());
    let (events, head) = match app.engine.audit().await {
        Ok((whole, beside)) => {
            faults.extend(beside);
            (whole.events, whole.head)
        }
        Err(error) => {
            faults.push(format!("the journal: {error}"));
            (0, Digest([0; 32]))
        }
    };
    let kept = app.engine.read(|swarm| Kept::of(app, swarm));
    let artifacts = kept.artifacts.len() as u64;
    for artifact in &kept.artifacts {
        let (shared, one) = (app.clone(), artifact.clone());
        match tokio::task::spawn_blocking(move || of_artifact(&shared, &one)).await? {
            Ok(made_anew) => mended.extend(made_anew),
            // It may have been forgotten meanwhile.
            Err(fault) if is_kept(app, artifact.digest) => faults.push(fault),
            Err(_) => {}
        }
        pace.after(artifact.size).await;
    }
    let archives = kept.snapshots.iter().map(|&d| (d, app.snapshots.path(d), Archive::Snapshot));
    let archives = archives.chain(kept.images.iter().map(|&d| (d, app.images.path(d), Archive::Image)));
    for (digest, path, archive) in archives.collect::<Vec<_>>() {
        let size = std::fs::metadata(&path).map_or(0, |meta| meta.len());
        faults.extend(tokio::task::spawn_blocking(move || archive.fault(digest, &path)).await?);
        pace.after(size).await;
    }
    let (written_again, damaged) = indexes(app, kept).await?;
    mended.extend(written_again);
    faults.extend(damaged);
    for what in &mended {
        tracing::warn!(what, "something that is kept was damaged, and is whole again");
    }
    for what in &faults {
        tracing::error!(what, "something that is kept is damaged");
    }
    app.audited.keep(faults.clone());
    Ok(AuditView { events, head, artifacts, faults, mended })
}

fn is_kept(app: &App, digest: Digest) -> bool {
    app.engine.read(|swarm| view::artifacts(swarm, None).iter().any(|artifact| artifact.digest == digest))
}

/// Reads a package and compares what is kept of it. What was made anew, or what is wrong.
fn of_artifact(app: &App, artifact: &Artifact) -> Result<Option<String>, String> {
    let path = artifact.target.path();
    match app.entries.check(&app.store, artifact) {
        Ok(differs) => Ok(differs.map(|file| {
            format!(
                "{}, what is kept of {path}, was not what the package says; it is made anew",
                file.display()
            )
        })),
        Err(error) => {
            // Of a package that cannot be read as one it counts more that its bytes changed.
            let error = match app.store.verify(artifact.digest) {
                Err(damage) => EntriesError::Store(damage),
                Ok(_) => error,
            };
            let file = app.store.path(artifact.digest);
            let gone = matches!(error, EntriesError::Store(StoreError::Disk(_)));
            let next = match gone {
                true => "look at that disk".to_owned(),
                false => format!("build it again: `swarmctl rebuild {}`", artifact.target.cpv.cp()),
            };
            Err(format!("{path} in {}: {error}; {next}", file.display()))
        }
    }
}

/// What an archive holds.
#[derive(Debug, Clone, Copy)]
enum Archive {
    Snapshot,
    Image,
}

impl Archive {
    /// What is wrong with one.
    fn fault(self, digest: Digest, path: &Path) -> Option<String> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) => return Some(format!("{}: {error}; {}", path.display(), self.next())),
        };
        let error = match self {
            Self::Snapshot => snapshot::verify(file, digest).err()?.to_string(),
            Self::Image => image::verify(file, digest).err()?.to_string(),
        };
        Some(format!("{}: {error}; {}", path.display(), self.next()))
    }

    fn next(self) -> &'static str {
        match self {
            Self::Snapshot => "remove the file and pin the profile again with `swarmctl profile update`",
            Self::Image => "remove the file and bring the base again with `swarmctl base update`",
        }
    }
}

/// Compares the published indexes with what is kept, and has damaged ones written again. What
/// was, and what is still wrong.
async fn indexes(app: &Arc<App>, kept: Kept) -> Result<(Vec<String>, Vec<String>), JoinError> {
    let kept = Arc::new(kept);
    let look = || {
        let (app, kept) = (app.clone(), kept.clone());
        tokio::task::spawn_blocking(move || damaged_indexes(&app, &kept))
    };
    let before = look().await?;
    if before.is_empty() {
        return Ok((before, Vec::new()));
    }
    let mut after = before.clone();
    if app.engine.leads().is_ok() {
        let mut passes = app.published.passes();
        app.binhosts.doubt();
        let end = time::Instant::now() + MENDED_WITHIN;
        // A pass that was under way has not looked at them.
        while !after.is_empty() && matches!(time::timeout_at(end, passes.changed()).await, Ok(Ok(()))) {
            after = look().await?;
        }
    }
    let mended = before.into_iter().filter(|fault| !after.contains(fault));
    Ok((mended.map(|fault| format!("{fault}; it is written again")).collect(), after))
}

fn damaged_indexes(app: &App, kept: &Kept) -> Vec<String> {
    let mut known: BTreeMap<String, Vec<&Artifact>> = BTreeMap::new();
    for artifact in &kept.artifacts {
        known.entry(artifact.target.path()).or_default().push(artifact);
    }
    let _writing = app.binhosts.write();
    let fault = |dir: &PathBuf| {
        let found = match whole::read(dir) {
            Ok(found) => found,
            Err(error) => return Some(error.to_string()),
        };
        if let Some(file) = found.damaged {
            return Some(format!("{} is not as it was written", file.display()));
        }
        let index = dir.join("Packages");
        if dir.ends_with("stable") && !index.exists() {
            return Some(format!("{} is gone", index.display()));
        }
        let wrong = found.index.entries().find(|entry| {
            // What has come since is not known here.
            let Some(artifacts) = known.get(entry.path()) else { return false };
            !artifacts.iter().any(|a| app.entries.entry(&app.store, a).is_ok_and(|kept| kept == **entry))
        });
        wrong.map(|entry| format!("{} says of {} what is not so", index.display(), entry.path()))
    };
    kept.hosts.iter().filter_map(fault).collect()
}
