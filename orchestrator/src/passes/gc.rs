//! The pass that removes what is no longer needed: uploads, logs, snapshots, images and artifacts
//! of forgotten work, binary package hosts of forgotten runs, and files of replaced generations.
//!
//! A file is garbage only if the state does not refer to it. Young files are kept, because a file
//! is stored before the state refers to it.
//!
//! Nothing is removed while the machine's clock is in doubt ([`trust`]): to a clock that is ahead, everything
//! looks old.

pub mod trust;

use crate::{
    config::Config,
    engine::Engine,
    intake::Intake,
    logs::{self, LogState, Logs},
    passes::{Context, Pass, Report, every_after},
    publish::{Binhosts, ChannelWriters},
    store::{ArtifactStore, StoreError, disk::DiskError, images::Images, snapshots::Snapshots},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};
use swarm_common::{
    digest::Digest,
    id::{AttemptId, RunId},
    name::Name,
    time::TimeMs,
    wire::{artifact::Artifact, base::Base, channel::ChannelName},
};
use swarm_core::{
    Swarm, base, retention,
    state::{Ending, Profile},
};
use tokio::{sync::watch, time::Interval};
use trust::Trust;

const EVERY: Duration = Duration::from_secs(3600);

/// Files younger than this are left alone.
const YOUNG: Duration = Duration::from_secs(3600);

/// How long unreferenced uploads, snapshots and images are kept.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// How long, in seconds, files of a replaced generation stay for workstations that have read its index.
const GRACE_SECS: u64 = 24 * 3600;

struct Needed {
    attempts: BTreeSet<AttemptId>,
    /// Attempts that may still deliver files.
    open: BTreeSet<AttemptId>,
    /// The artifacts of packages.
    artifacts: Vec<Artifact>,
    /// The stored files: these artifacts and others.
    files: BTreeSet<Digest>,
    snapshots: BTreeSet<Digest>,
    images: BTreeSet<Digest>,
    profiles: BTreeMap<Name, Hosts>,
}

/// What the state refers to in a profile's binary package hosts.
#[derive(Default)]
struct Hosts {
    runs: BTreeSet<RunId>,
    generations: BTreeSet<u64>,
}

impl Needed {
    fn of(swarm: &Swarm) -> Self {
        let hosts = |(name, profile): (&Name, &Profile)| {
            let generations = profile.generations().map(|generation| generation.number);
            (name.clone(), Hosts { runs: BTreeSet::new(), generations: generations.collect() })
        };
        let mut profiles: BTreeMap<Name, Hosts> = swarm.profiles.iter().map(hosts).collect();
        for (&id, run) in &swarm.runs {
            profiles.entry(run.profile.clone()).or_default().runs.insert(id);
        }
        let open = swarm.attempts.iter().filter(|(_, a)| matches!(a.ending, None | Some(Ending::Lost(_))));
        let artifacts = retention::artifacts(swarm, None);
        let mut files: BTreeSet<Digest> = artifacts.iter().map(|artifact| artifact.digest).collect();
        files.extend(retention::derivations(swarm));
        let mut images = BTreeSet::new();
        for base in base::needed(swarm) {
            if let Base::Image { image, installed } = base {
                images.insert(image.digest);
                files.extend(installed.iter().map(|d| d.digest));
            }
        }
        let pinned = swarm.profiles.values().flat_map(Profile::snapshots);
        Self {
            attempts: swarm.attempts.keys().copied().collect(),
            open: open.map(|(&id, _)| id).collect(),
            artifacts,
            files,
            snapshots: pinned.chain(swarm.runs.values().map(|r| r.snapshot)).collect(),
            images,
            profiles,
        }
    }

    fn log_state(&self, attempt: AttemptId) -> LogState {
        match (self.attempts.contains(&attempt), self.open.contains(&attempt)) {
            (_, true) => LogState::Open,
            (true, false) => LogState::Ended,
            (false, false) => LogState::Forgotten,
        }
    }
}

/// The places that may contain something that is no longer needed.
#[derive(Clone)]
pub struct GarbageCollector {
    pub engine: Engine,
    /// The current configuration, which says how long logs are kept.
    pub live: watch::Receiver<Arc<Config>>,
    pub intake: Arc<Intake>,
    pub logs: Arc<Logs>,
    pub store: Arc<dyn ArtifactStore>,
    pub snapshots: Snapshots,
    pub images: Images,
    pub binhosts: Binhosts,
    pub writers: ChannelWriters,
}

/// The pass that removes what is no longer needed, once an hour.
pub struct GcPass {
    collector: GarbageCollector,
    trust: Trust,
    timer: Interval,
}

impl GcPass {
    /// Cleans up `collector`, for the first time after `first`.
    #[must_use]
    pub fn new(collector: GarbageCollector, trust: Trust, first: Duration) -> Self {
        Self { collector, trust, timer: every_after(first, EVERY) }
    }
}

impl Pass for GcPass {
    const NAME: &'static str = "leftovers";

    async fn wake(&mut self) {
        self.timer.tick().await;
    }

    async fn run_once(&mut self, _: &Context) -> Report {
        let now = match self.trust.look() {
            Ok(now) => now,
            Err(doubt) => {
                tracing::warn!(%doubt, "nothing is removed for its age yet");
                return Ok(format!("nothing removed: {doubt}"));
            }
        };
        let collector = self.collector.clone();
        // The order matters: artifacts reported after this call are then found in the state.
        let unreported = collector.intake.unreported_artifacts();
        let mut needed = collector.engine.read(Needed::of);
        needed.files.extend(unreported);
        match tokio::task::spawn_blocking(move || collector.sweep(&needed, now)).await {
            Ok(Ok(0)) => Ok(String::new()),
            Ok(Ok(removed)) => {
                tracing::info!(removed, "removed unused files");
                Ok(format!("{removed} removed"))
            }
            // What remains only costs space, and the next run tries again.
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot remove unused files");
                Err(error.to_string())
            }
            Err(error) => {
                tracing::error!(%error, "the task removing unused files panicked");
                Err(error.to_string())
            }
        }
    }
}

impl GarbageCollector {
    fn log_bounds(&self) -> logs::Bounds {
        let bounds = self.live.borrow().build_logs;
        logs::Bounds { age: bounds.max_age.duration(), total: bounds.total_size.bytes() }
    }

    /// Removes what is not needed. Returns the number of removed files and directories.
    fn sweep(&self, needed: &Needed, now: TimeMs) -> Result<usize, StoreError> {
        let clock = SystemTime::UNIX_EPOCH + Duration::from_millis(now.0);
        let before = |age: Duration| clock.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut removed = self.logs.tidy(clock, self.log_bounds(), |attempt| needed.log_state(attempt))?;
        removed += self.snapshots.retain(before(PATIENCE), |digest| needed.snapshots.contains(&digest))?;
        removed += self.images.retain(before(PATIENCE), |digest| needed.images.contains(&digest))?;
        self.intake.retain(|attempt| needed.open.contains(&attempt));
        let incoming = self.intake.incoming();
        for upload in incoming.list()? {
            if !needed.open.contains(&upload.attempt) && upload.modified < before(YOUNG) {
                incoming.remove_attempt(upload.attempt)?;
                removed += 1;
            }
        }
        removed += incoming.expire(before(PATIENCE))?.len();
        for (digest, _) in self.store.list()? {
            if !needed.files.contains(&digest) && self.store.remove(digest, before(YOUNG))? {
                removed += 1;
            }
        }
        removed += self.intake.retain_derived(&needed.artifacts, before(YOUNG))?;
        Ok(removed + self.sweep_binhosts(needed, now.as_secs())?)
    }

    fn sweep_binhosts(&self, needed: &Needed, now: u64) -> Result<usize, DiskError> {
        // Publishing must wait, because it places files before an index lists them.
        let _writing = self.binhosts.write();
        let (mut removed, mut failed) = (0, None);
        for name in names(self.binhosts.dir())? {
            let Ok(profile) = name.parse::<Name>() else { continue };
            // An error in one profile must not keep the other profiles from being cleaned.
            match self.sweep_profile(&profile, needed.profiles.get(&profile), now) {
                Ok(files) => removed += files,
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(removed), Err)
    }

    fn sweep_profile(&self, profile: &Name, hosts: Option<&Hosts>, now: u64) -> Result<usize, DiskError> {
        let Some(hosts) = hosts else {
            return remove_dir(&self.binhosts.dir().join(profile.as_str())).map(|()| 1);
        };
        let (mut removed, dir) = (0, self.binhosts.runs(profile));
        for name in names(&dir)? {
            if name.parse::<RunId>().is_ok_and(|run| !hosts.runs.contains(&run)) {
                remove_dir(&dir.join(name))?;
                removed += 1;
            }
        }
        for channel in ChannelName::ALL {
            let dir = self.binhosts.channel(profile, channel);
            removed += self.writers.sweep(&dir, now, GRACE_SECS, &hosts.generations)?;
        }
        Ok(removed)
    }
}

fn names(dir: &Path) -> Result<Vec<String>, DiskError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(DiskError::at("list", dir))?,
    };
    let names = entries.filter_map(|entry| entry.map(|e| e.file_name().into_string().ok()).transpose());
    names.collect::<Result<_, _>>().map_err(DiskError::at("list", dir))
}

fn remove_dir(dir: &Path) -> Result<(), DiskError> {
    fs::remove_dir_all(dir).map_err(DiskError::at("remove", dir))
}
