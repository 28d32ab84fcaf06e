//! Where everything of one build root is: on the drone's disk, and as the build sees it.
//!
//! In an overlay the build sees fixed paths, the same on every drone and in every attempt, since
//! what a build sees of its surroundings ends in packages: in their saved environment, in
//! debugging information, in whatever an ebuild writes down.

use std::path::{Path, PathBuf};
use swarm_common::digest::Digest;

/// The directories of a build root, from one of the two points of view.
#[derive(Debug, Clone)]
pub struct Places {
    /// `etc/portage`.
    pub etc: PathBuf,
    /// What `PORTAGE_CONFIGROOT` is.
    pub config_root: PathBuf,
    /// Portage's working directory, with the build logs.
    pub tmp: PathBuf,
    /// Finished packages.
    pub packages: PathBuf,
    /// Packages that only later stages of a cycle need.
    pub stages: PathBuf,
    /// Package files that Portage itself installs.
    pub artifacts: PathBuf,
    /// Sources that this attempt downloads.
    pub distfiles: PathBuf,
    /// Shared: sources that were downloaded before.
    pub shared_distfiles: PathBuf,
    /// Shared: metadata of this snapshot's ebuilds.
    pub depcache: PathBuf,
    /// The unpacked snapshot; outside only its manifest and `etc`, if it is in layers.
    pub snapshot: PathBuf,
    /// The snapshot's repositories.
    pub repositories: PathBuf,
    /// Programs under the names that Portage knows them by.
    pub tools: PathBuf,
    /// The home directory.
    pub home: PathBuf,
    /// The planner's script, and its report.
    pub plan: PathBuf,
}

impl Places {
    /// On the drone's disk: directories of an attempt, a snapshot and the cache.
    #[must_use]
    pub fn outside(attempt: &Path, snapshot: &Path, cache: &Path, digest: Digest) -> Self {
        let config_root = attempt.join("config");
        Self {
            etc: config_root.join("etc/portage"),
            config_root,
            tmp: attempt.join("tmp"),
            packages: attempt.join("packages"),
            stages: attempt.join("stages"),
            artifacts: attempt.join("artifacts"),
            distfiles: attempt.join("distfiles"),
            shared_distfiles: cache.join("distfiles"),
            depcache: cache.join("metadata").join(digest.to_string()),
            snapshot: snapshot.to_owned(),
            repositories: snapshot.join("repos"),
            tools: attempt.join("tools"),
            home: attempt.join("home"),
            plan: attempt.join("plan"),
        }
    }

    /// In an overlay.
    #[must_use]
    pub fn inside() -> Self {
        let at = |path: &str| PathBuf::from(path);
        Self {
            etc: at("/etc/portage"),
            config_root: at("/"),
            tmp: at("/var/tmp"),
            packages: at("/var/cache/binpkgs"),
            stages: at("/var/cache/swarm/stages"),
            artifacts: at("/var/cache/swarm/artifacts"),
            distfiles: at("/var/cache/distfiles"),
            shared_distfiles: at("/var/cache/swarm/distfiles"),
            depcache: at("/var/cache/swarm/metadata"),
            snapshot: at("/var/cache/swarm/snapshot"),
            repositories: at("/var/db/repos"),
            tools: at("/var/cache/swarm/tools"),
            home: at("/var/cache/swarm/home"),
            plan: at("/var/cache/swarm/plan"),
        }
    }

    /// Those that a build may write to.
    pub(super) fn writable(&self) -> [&PathBuf; 8] {
        let Self { etc, tmp, packages, stages, distfiles, home, plan, tools, .. } = self;
        [etc, tmp, packages, stages, distfiles, home, plan, tools]
    }

    /// Those that it may only read. While a plan is made the metadata of ebuilds is written down.
    pub(super) fn read_only(&self) -> [&PathBuf; 2] {
        [&self.artifacts, &self.shared_distfiles]
    }
}
