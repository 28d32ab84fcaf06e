//! One attempt's build root: its directories, and how programs are run in it.
//!
//! Two empty Portage roots are made for every attempt. Plans are always made against them, so that
//! a plan does not depend on the kind of root; packages are built against them too, unless
//! the kind of root brings a `/` of its own.
//!
//! Portage is told of them by its environment: `PORTAGE_OVERRIDE_EPREFIX` is where it
//! believes itself to be installed (build tools go there), `ROOT` and `SYSROOT` are where
//! packages go. `EPREFIX` must be set and empty, or packages would contain the path.

use super::{RootError, RootKind, cache, config, make_dir, overlay::Overlay, tree::Tree};
use crate::builder::BuilderConfig;
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};
use swarm_common::{
    format::snapshot::{MANIFEST, SnapshotManifest},
    wire::drone::{Assignment, Work},
};

/// Variables that a build's downloads need on networks with a proxy or a company's own
/// certificates. Nothing else of the drone's environment is passed on.
const PASSED_ON: [&str; 7] =
    ["http_proxy", "https_proxy", "ftp_proxy", "HTTP_PROXY", "HTTPS_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"];

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

/// Where packages are installed and built.
#[derive(Debug)]
enum Place {
    /// In the two empty roots.
    Apart,
    /// In an overlay over a base root, as its `/`.
    Overlay(Overlay),
    /// In the machine's own `/`.
    Live,
}

/// A made build root.
#[derive(Debug)]
pub struct Root {
    paths: Paths,
    manifest: SnapshotManifest,
    prefix: PathBuf,
    config: BuilderConfig,
    binhost: String,
    jobs: u32,
    place: Place,
    tree: Tree,
    planning: bool,
}

impl Root {
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
        let tree = Tree::at(base.unwrap_or(Path::new("/")));
        for needed in ["bin/emerge", "share/portage/config/make.globals"] {
            let path = prefix.join(needed);
            // What is named in the configuration is brought along; else it is part of the tree.
            let there = if config.portage_prefix.is_some() { path.exists() } else { tree.has(&path) };
            if !there {
                return Err(RootError::NoPortage(prefix, base.unwrap_or(Path::new("/")).to_owned(), path));
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
        let place = match (config.root_kind, base) {
            (RootKind::Overlay, Some(base)) => {
                let mut seen = vec![paths.attempt.clone(), paths.snapshot.clone(), cache];
                seen.extend(config.portage_prefix.clone());
                Place::Overlay(Overlay::make(base, &tree, &paths.attempt, seen)?)
            }
            (RootKind::Live, _) if rustix::process::geteuid().is_root() => Place::Live,
            (RootKind::Overlay | RootKind::Live, _) => return Err(RootError::NotRoot),
            (RootKind::Scratch, _) => Place::Apart,
        };
        let planning = matches!(assignment.work, Work::Plan);
        let config = config.clone();
        let root = Self { paths, manifest, prefix, config, binhost, jobs, place, tree, planning };
        root.fill()?;
        Ok(root)
    }

    fn fill(&self) -> Result<(), RootError> {
        let p = &self.paths;
        for dir in [&p.packages, &p.stages, &p.binhost, &p.tmp, &p.distfiles] {
            make_dir(dir)?;
        }
        cache::use_metadata(&p.depcache)?;
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
            prefixes.extend(self.overlay().map(Overlay::upper));
        }
        let below = ["share/portage/config", "usr/share/portage/config"];
        for to in prefixes.iter().flat_map(|prefix| below.map(|below| prefix.join(below))) {
            make_dir(&to)?;
            for name in ["make.globals", "sets"] {
                link(&self.prefix.join("share/portage/config").join(name), &to.join(name))?;
            }
        }
        // Portage unpacks with gtar, which only Gentoo calls so.
        if let (None, Some(tar)) = (self.tree.program("gtar"), self.tree.program("tar")) {
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
        let brought = self.config.portage_prefix.is_some();
        if brought && own.exists() {
            return own;
        }
        // Links and all: what a virtual environment's Python is, its link says.
        ["python3", "python"]
            .iter()
            .find_map(|name| self.tree.program(name))
            .unwrap_or("/usr/bin/python3".into())
    }

    /// What the build's programs see as `/`.
    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    fn overlay(&self) -> Option<&Overlay> {
        match &self.place {
            Place::Overlay(overlay) => Some(overlay),
            Place::Apart | Place::Live => None,
        }
    }

    /// Whether packages are installed where others are already, of whatever age.
    #[must_use]
    pub fn is_inhabited(&self) -> bool {
        !matches!(self.place, Place::Apart)
    }

    /// What the machine itself has installed, if builds change that.
    #[must_use]
    pub fn live_packages(&self) -> Option<BTreeSet<String>> {
        (matches!(self.place, Place::Live) && !self.planning).then(|| self.tree.packages())
    }

    /// Whether all that is installed is thrown away in the end.
    #[must_use]
    pub fn is_thrown_away(&self) -> bool {
        !matches!(self.place, Place::Live)
    }

    /// The command that runs a program in this root.
    #[must_use]
    pub fn command(&self, program: &Path, args: Vec<OsString>) -> (PathBuf, Vec<OsString>) {
        match self.overlay() {
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
        let (root, broot): (OsString, OsString) = if self.is_inhabited() && !self.planning {
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
            ("PORTAGE_REPOSITORIES".into(), config::repositories(self).into()),
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

fn read_manifest(snapshot: &Path) -> Result<SnapshotManifest, RootError> {
    let path = snapshot.join(MANIFEST);
    let text = fs::read_to_string(&path).map_err(RootError::io("read", &path))?;
    let manifest: SnapshotManifest =
        serde_json::from_str(&text).map_err(|e| RootError::Snapshot(format!("{MANIFEST}: {e}")))?;
    manifest.check().map_err(|e| RootError::Snapshot(e.to_string()))?;
    Ok(manifest)
}

fn link(target: &Path, at: &Path) -> Result<(), RootError> {
    symlink(target, at).map_err(RootError::io("link", at))
}
