//! A build root made of two empty Portage roots.
//!
//! Portage is told of them by its environment: `PORTAGE_OVERRIDE_EPREFIX` is where it
//! believes itself to be installed (build tools go there), `ROOT` and `SYSROOT` are where
//! packages go. `EPREFIX` must be set and empty, or packages would contain the path.

use super::{RootError, RootKind, config, overlay::Overlay};
use crate::builder::BuilderConfig;
use std::{
    ffi::OsString,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};
use swarm_common::{
    format::snapshot::{MANIFEST, SnapshotManifest},
    wire::drone::{Assignment, Work},
};

/// Variables that a build's downloads need on networks with a proxy or a company's own
/// certificates. Nothing else of the drone's environment is passed on.
const PASSED_ON: [&str; 7] =
    ["http_proxy", "https_proxy", "ftp_proxy", "HTTP_PROXY", "HTTPS_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// How long the metadata of a snapshot is kept after it was last used.
const METADATA_AGE: Duration = Duration::from_secs(21 * 24 * 3600);
/// Names the last use by its time.
const USED: &str = ".used";

/// Where everything of one build root is.
#[derive(Debug, Clone)]
pub struct Paths {
    /// The attempt's directory.
    pub attempt: PathBuf,
    /// Packages are installed here and built against this.
    pub root: PathBuf,
    /// Build tools are installed here.
    pub broot: PathBuf,
    /// Finished packages.
    pub packages: PathBuf,
    /// Packages that only later stages of a cycle need.
    pub stages: PathBuf,
    /// Packages from the binary package host.
    pub binhost: PathBuf,
    /// Portage's working directory, with the build logs.
    pub tmp: PathBuf,
    /// Shared: downloaded sources.
    pub distfiles: PathBuf,
    /// Shared: metadata of this snapshot's ebuilds.
    pub depcache: PathBuf,
    /// The unpacked snapshot.
    pub snapshot: PathBuf,
}

/// A made build root.
#[derive(Debug)]
pub struct Scratch {
    paths: Paths,
    manifest: SnapshotManifest,
    prefix: PathBuf,
    config: BuilderConfig,
    binhost: String,
    jobs: u32,
    overlay: Option<Overlay>,
    planning: bool,
}

impl Scratch {
    /// Makes it in `attempt`, which is there and empty. The drone removes that directory,
    /// so there is nothing to undo on an error.
    ///
    /// # Errors
    /// The disk, the snapshot or the installation of Portage does not allow it.
    pub fn make(
        attempt: &Path,
        snapshot: &Path,
        orchestrator: &str,
        assignment: &Assignment,
        config: &BuilderConfig,
    ) -> Result<Self, RootError> {
        let manifest = read_manifest(snapshot)?;
        let prefix = config.portage_prefix.clone().unwrap_or_else(|| PathBuf::from("/usr"));
        let base = config.base_root.as_deref().filter(|_| config.root_kind == RootKind::Overlay);
        for needed in ["bin/emerge", "share/portage/config/make.globals"] {
            let mut path = prefix.join(needed);
            if let (None, Some(base)) = (&config.portage_prefix, base) {
                path = base.join(path.strip_prefix("/").unwrap_or(&path));
            }
            if !path.exists() {
                return Err(RootError::NoPortage(prefix, path));
            }
        }
        // Symbolic links and Portage's own idea of a path must agree.
        let real = |path: &Path| path.canonicalize().map_err(RootError::io("find", path));
        let (attempt, snapshot) = (real(attempt)?, real(snapshot)?);
        make_dir(&config.cache_dir)?;
        let cache = real(&config.cache_dir)?;
        let paths = Paths {
            root: attempt.join("root"),
            broot: attempt.join("broot"),
            packages: attempt.join("packages"),
            stages: attempt.join("stages"),
            binhost: attempt.join("binhost"),
            tmp: attempt.join("tmp"),
            distfiles: cache.join("distfiles"),
            depcache: cache.join("metadata").join(assignment.snapshot.to_string()),
            attempt,
            snapshot,
        };
        let jobs = match (assignment.limits.jobs, config.jobs()) {
            (0, own) => own,
            (limit, own) => limit.min(own),
        };
        let binhost =
            format!("{}/{}", orchestrator.trim_end_matches('/'), assignment.binhost.trim_start_matches('/'));
        let overlay = match base {
            None => None,
            Some(base) => {
                let mut seen = vec![paths.attempt.clone(), paths.snapshot.clone(), cache];
                seen.extend(config.portage_prefix.clone());
                Some(Overlay::make(base, &paths.attempt, seen)?)
            }
        };
        let planning = matches!(assignment.work, Work::Plan);
        let scratch =
            Self { paths, manifest, prefix, config: config.clone(), binhost, jobs, overlay, planning };
        scratch.fill()?;
        Ok(scratch)
    }

    fn fill(&self) -> Result<(), RootError> {
        let p = &self.paths;
        for dir in [&p.packages, &p.stages, &p.binhost, &p.tmp, &p.distfiles, &p.depcache] {
            make_dir(dir)?;
        }
        // Writing a new name sets the directory's time, which tells the last use.
        let used = p.depcache.join(USED);
        fs::write(&used, "").map_err(RootError::io("write", &used))?;
        // Another attempt of the same snapshot may have removed it.
        let _ = fs::remove_file(&used);
        for root in [&p.root, &p.broot] {
            for dir in ["etc", "var/lib/portage", "var/db/pkg", "var/cache/edb", "var/log", "tmp"] {
                make_dir(&root.join(dir))?;
            }
        }
        for dir in ["home", "tools"] {
            make_dir(&p.attempt.join(dir))?;
        }
        // A Portage looks for its defaults below the prefix it believes in; where exactly
        // was decided when it was installed.
        let mut prefixes = vec![p.broot.clone()];
        if self.config.portage_prefix.is_some() {
            prefixes.extend(self.overlay.as_ref().map(Overlay::upper));
        }
        let below = ["share/portage/config", "usr/share/portage/config"];
        for to in prefixes.iter().flat_map(|prefix| below.map(|below| prefix.join(below))) {
            make_dir(&to)?;
            // Not its `repos.conf`: that would bring in a repository that is not there.
            for name in ["make.globals", "sets"] {
                link(&self.prefix.join("share/portage/config").join(name), &to.join(name))?;
            }
        }
        // Portage unpacks with gtar, which only Gentoo calls so.
        let on_path = |program| find(program, &["/usr/bin", "/bin"]);
        if let (None, Some(tar)) = (on_path("gtar"), on_path("tar")) {
            link(&tar, &p.attempt.join("tools/gtar"))?;
        }
        config::write(self)?;
        // One configuration for both roots.
        make_dir(&p.broot.join("etc"))?;
        link(&p.root.join("etc/portage"), &p.broot.join("etc/portage"))
    }

    /// Where everything is.
    #[must_use]
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// What the snapshot says of itself.
    #[must_use]
    pub fn manifest(&self) -> &SnapshotManifest {
        &self.manifest
    }

    /// The drone's settings.
    #[must_use]
    pub fn config(&self) -> &BuilderConfig {
        &self.config
    }

    /// Address of the binary package host.
    #[must_use]
    pub fn binhost(&self) -> &str {
        &self.binhost
    }

    /// How many compilers may run at once.
    #[must_use]
    pub fn jobs(&self) -> u32 {
        self.jobs
    }

    /// A program of Portage's installation, such as `emerge`.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.prefix.join("bin").join(name)
    }

    /// The Python that Portage runs with.
    #[must_use]
    pub fn python(&self) -> PathBuf {
        let own = self.prefix.join("bin/python");
        if own.exists() { own } else { PathBuf::from("/usr/bin/python3") }
    }

    /// The command that runs a program in this root.
    #[must_use]
    pub fn command(&self, program: &Path, args: Vec<OsString>) -> (PathBuf, Vec<OsString>) {
        match &self.overlay {
            Some(overlay) => overlay.command(program, &args),
            None => (program.to_owned(), args),
        }
    }

    /// The whole environment of Portage's programs in this root.
    #[must_use]
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        let p = &self.paths;
        let mut path = p.attempt.join("tools").into_os_string();
        path.push(":");
        path.push(self.prefix.join("bin"));
        path.push(":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let (root, broot): (OsString, OsString) = if self.overlay.is_some() && !self.planning {
            ("/".into(), "".into())
        } else {
            (p.root.clone().into(), p.broot.clone().into())
        };
        let mut env: Vec<(OsString, OsString)> = vec![
            ("HOME".into(), p.attempt.join("home").into()),
            ("PATH".into(), path),
            ("TERM".into(), "dumb".into()),
            ("NOCOLOR".into(), "true".into()),
            ("LC_ALL".into(), "C.UTF-8".into()),
            ("PYTHONUNBUFFERED".into(), "1".into()),
            ("PORTAGE_OVERRIDE_EPREFIX".into(), broot),
            ("EPREFIX".into(), "".into()),
            ("ROOT".into(), root.clone()),
            ("SYSROOT".into(), root),
            ("PORTAGE_CONFIGROOT".into(), p.root.clone().into()),
        ];
        for name in PASSED_ON {
            env.extend(std::env::var_os(name).map(|value| (name.into(), value)));
        }
        for name in ["no_proxy", "NO_PROXY"] {
            // The way to the swarm's own packages begins on this machine.
            let mut hosts = std::env::var_os(name).filter(|hosts| !hosts.is_empty()).unwrap_or_default();
            hosts.push(if hosts.is_empty() { "127.0.0.1" } else { ",127.0.0.1" });
            env.push((name.into(), hosts));
        }
        env
    }

    /// The directory of the configuration.
    #[must_use]
    pub fn etc(&self) -> PathBuf {
        self.paths.root.join("etc/portage")
    }

    /// Says which USE flags packages are built with, each as an atom and its flags. It
    /// takes the place of what was said before.
    ///
    /// # Errors
    /// The disk.
    pub fn set_use(&self, entries: &[(String, Vec<String>)]) -> Result<(), RootError> {
        config::write_use(self, entries)
    }

    /// Says where finished packages go, and from where installed ones may come.
    ///
    /// # Errors
    /// The disk.
    pub fn set_packages(&self, dir: &Path) -> Result<(), RootError> {
        config::write_settings(self, dir)
    }
}

/// Removes from the cache the ebuild metadata of snapshots that nobody built from in the
/// last weeks. Sources are kept: they may be gone from where they came from.
///
/// # Errors
/// The disk. A cache that is not there yet is in order.
pub fn prune_cache(config: &BuilderConfig) -> Result<(), RootError> {
    let dir = config.cache_dir.join("metadata");
    let entries = match fs::read_dir(&dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(RootError::io("read", &dir))?,
    };
    for path in entries.flatten().map(|e| e.path()) {
        let changed = path.metadata().and_then(|m| m.modified()).map_err(RootError::io("look at", &path))?;
        if changed.elapsed().is_ok_and(|age| age > METADATA_AGE) {
            fs::remove_dir_all(&path).map_err(RootError::io("remove", &path))?;
        }
    }
    Ok(())
}

fn read_manifest(snapshot: &Path) -> Result<SnapshotManifest, RootError> {
    let path = snapshot.join(MANIFEST);
    let text = fs::read_to_string(&path).map_err(RootError::io("read", &path))?;
    let manifest: SnapshotManifest =
        serde_json::from_str(&text).map_err(|e| RootError::Snapshot(format!("{MANIFEST}: {e}")))?;
    manifest.check().map_err(|e| RootError::Snapshot(e.to_string()))?;
    Ok(manifest)
}

pub(super) fn make_dir(path: &Path) -> Result<(), RootError> {
    fs::create_dir_all(path).map_err(RootError::io("make the directory", path))
}

fn link(target: &Path, at: &Path) -> Result<(), RootError> {
    symlink(target, at).map_err(RootError::io("link", at))
}

fn find(program: &str, dirs: &[&str]) -> Option<PathBuf> {
    dirs.iter().map(|dir| Path::new(dir).join(program)).find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, time::SystemTime};

    #[test]
    fn only_metadata_that_was_not_used_for_long_is_pruned() {
        let dir = tempfile::tempdir().unwrap();
        let config = BuilderConfig { cache_dir: dir.path().into(), ..BuilderConfig::default() };
        prune_cache(&config).unwrap();
        let of = |name: &str| dir.path().join("metadata").join(name);
        for name in ["old", "new"] {
            make_dir(&of(name)).unwrap();
        }
        make_dir(&dir.path().join("distfiles")).unwrap();
        File::open(of("old")).unwrap().set_modified(SystemTime::now() - METADATA_AGE * 2).unwrap();
        prune_cache(&config).unwrap();
        assert!(!of("old").exists() && of("new").exists() && dir.path().join("distfiles").exists());
    }
}
