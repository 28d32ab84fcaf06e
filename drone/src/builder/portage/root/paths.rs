//! The paths of a build root, on the drone's disk and inside the root.
//!
//! Inside an overlay, the paths are the same on every drone and in every attempt, because packages contain
//! them: in the saved environment, in debugging information, and in whatever an ebuild records.

use std::path::{Path, PathBuf};
use swarm_common::digest::Digest;

#[derive(Debug, Clone)]
pub struct RootPaths {
    /// `etc/portage`.
    pub etc: PathBuf,
    /// `PORTAGE_CONFIGROOT`.
    pub config_root: PathBuf,
    /// `PORTAGE_TMPDIR`, which also contains the build logs.
    pub tmp: PathBuf,
    pub packages: PathBuf,
    /// Packages that only later stages of a cycle need.
    pub stages: PathBuf,
    /// Package files that Portage installs.
    pub artifacts: PathBuf,
    /// Distfiles that this attempt downloads.
    pub distfiles: PathBuf,
    /// Distfiles downloaded earlier. Shared by all attempts.
    pub shared_distfiles: PathBuf,
    /// Ebuild metadata of this snapshot. Shared by all attempts.
    pub depcache: PathBuf,
    /// The unpacked snapshot. For a layered snapshot, the outside path contains only the manifest and `etc`.
    pub snapshot: PathBuf,
    pub repositories: PathBuf,
    /// Links to programs under the names that Portage expects.
    pub tools: PathBuf,
    pub home: PathBuf,
    /// The script that makes plans, and its report.
    pub plan: PathBuf,
}

impl RootPaths {
    /// The paths on the drone's disk: in an attempt's directory, a snapshot and the cache.
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

    /// Directories that a build may write to.
    pub(super) fn writable(&self) -> [&PathBuf; 8] {
        let Self { etc, tmp, packages, stages, distfiles, home, plan, tools, .. } = self;
        [etc, tmp, packages, stages, distfiles, home, plan, tools]
    }

    /// Directories that a build may only read. The depcache is not included, because it is writable while
    /// planning.
    pub(super) fn read_only(&self) -> [&PathBuf; 2] {
        [&self.artifacts, &self.shared_distfiles]
    }
}
