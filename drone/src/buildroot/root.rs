//! One attempt's build root: its directories, and how programs are run in it.
//!
//! Plans and packages are made in the same kind of root: Portage's `ROOT` is `/`, where the base
//! is. `EPREFIX` must be set and empty, or packages would contain the prefix of a Portage that
//! was brought along.

use super::{
    RootError, RootKind, cache, config, make_dir,
    places::Places,
    settings,
    stack::{Bind, Stack},
    tree::Tree,
};
use crate::{builder::BuilderConfig, jobserver::PIPE};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};
use swarm_common::{
    digest::Digest,
    format::snapshot::{MANIFEST, SnapshotManifest},
};

/// Variables that a build's downloads need on networks with a proxy or a company's own
/// certificates. Nothing else of the drone's environment is passed on.
const PASSED_ON: [&str; 9] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Directories of a machine that builds have no business in.
const PRIVATE: [&str; 3] = ["/root", "/home", "/etc/build-swarm"];

/// What a build root is made of.
#[derive(Debug, Clone)]
pub struct Ingredients<'a> {
    /// A directory of its own, there and empty.
    pub attempt: &'a Path,
    /// The unpacked snapshot; if it is in layers, what is read of it here: its manifest and `etc`.
    pub snapshot: &'a Path,
    /// The directories that the snapshot is made of, the lowest first; none if it is one.
    pub snapshot_layers: &'a [PathBuf],
    /// The snapshot's digest.
    pub snapshot_digest: Digest,
    /// The drone's settings.
    pub config: &'a BuilderConfig,
    /// Jobs that the build may run at once; 0: as the drone is set.
    pub jobs: u32,
    /// Directories of the drone that no build may see.
    pub hidden: &'a [PathBuf],
    /// The directory of the jobserver that its jobs are counted by.
    pub jobserver: Option<&'a Path>,
    /// The layers of what is installed; the last lies uppermost.
    pub layers: Vec<PathBuf>,
    /// A plan is made, and so nothing is installed for good.
    pub planning: bool,
}

/// Where packages are installed and built.
#[derive(Debug)]
enum Place {
    /// In an overlay over a base.
    Overlay(Box<Stack>),
    /// In the machine's own `/`.
    Live,
}

/// A made build root.
#[derive(Debug)]
pub struct Root {
    attempt: PathBuf,
    outside: Places,
    inside: Places,
    snapshot_layers: Vec<PathBuf>,
    manifest: SnapshotManifest,
    prefix: PathBuf,
    config: BuilderConfig,
    jobs: u32,
    place: Place,
    tree: Tree,
    planning: bool,
    /// The pipe of its jobserver, as it is seen inside.
    jobserver: Option<PathBuf>,
    /// Settings of the bundle that have no effect here.
    unwanted: BTreeSet<String>,
}

impl Root {
    /// Makes it. The drone removes the attempt's directory, so there is nothing to undo on an
    /// error.
    ///
    /// # Errors
    /// The disk, the snapshot or the installation of Portage does not allow it.
    pub fn make(from: Ingredients<'_>) -> Result<Self, RootError> {
        let config = from.config;
        let manifest = read_manifest(from.snapshot)?;
        let prefix = config.portage_prefix.clone().unwrap_or_else(|| PathBuf::from("/usr"));
        let base = config.base();
        let tree = Tree::at(base);
        for needed in ["bin/emerge", "share/portage/config/make.globals"] {
            let path = prefix.join(needed);
            // What is named in the configuration is brought along; else it is part of the tree.
            let there = if config.portage_prefix.is_some() { path.exists() } else { tree.has(&path) };
            if !there {
                return Err(RootError::NoPortage(prefix, base.to_owned(), path));
            }
        }
        // Symbolic links and Portage's own idea of a path must agree.
        let real = |path: &Path| path.canonicalize().map_err(RootError::io("find", path));
        let (attempt, snapshot) = (real(from.attempt)?, real(from.snapshot)?);
        make_dir(&config.cache_dir)?;
        let outside = Places::outside(&attempt, &snapshot, &real(&config.cache_dir)?, from.snapshot_digest);
        let jobs = match (from.jobs, config.jobs()) {
            (0, own) => own,
            (limit, own) => limit.min(own),
        };
        let mut jobserver = None;
        let (place, inside) = match config.root_kind {
            RootKind::Overlay => {
                let inside = Places::inside();
                let mut hidden: Vec<PathBuf> = PRIVATE.iter().map(PathBuf::from).collect();
                hidden.extend(from.hidden.iter().cloned());
                let mut binds = binds(&outside, &inside, from.planning, from.snapshot_layers.is_empty());
                binds.extend(config.portage_prefix.clone().map(|at| Bind {
                    to: at.clone(),
                    from: at,
                    writable: false,
                }));
                if let Some(dir) = from.jobserver {
                    // Where a package's sandbox lets it write, too.
                    let to = inside.tmp.join("jobserver");
                    jobserver = Some(to.join(PIPE));
                    binds.push(Bind { from: dir.to_owned(), to, writable: false });
                }
                let binds = Stack::resolve(binds, &tree);
                let refresh = refresh(&from.layers, &prefix);
                let mut stack = Stack::make(base, &attempt, &from.layers, refresh, hidden, binds)?;
                let seen = [&inside.snapshot, &inside.repositories].map(|path| tree.resolve(path));
                stack.lay_snapshot(from.snapshot_layers, seen)?;
                (Place::Overlay(Box::new(stack)), inside)
            }
            RootKind::Live if rustix::process::geteuid().is_root() => (Place::Live, outside.clone()),
            RootKind::Live => return Err(RootError::NotRoot),
        };
        let (config, planning) = (config.clone(), from.planning);
        let snapshot_layers = from.snapshot_layers.to_vec();
        let unwanted = settings::named_in(&snapshot.join("etc/portage"))?;
        let root = Self {
            attempt,
            outside,
            inside,
            snapshot_layers,
            manifest,
            prefix,
            config,
            jobs,
            place,
            tree,
            planning,
            jobserver,
            unwanted,
        };
        root.fill()?;
        Ok(root)
    }

    fn fill(&self) -> Result<(), RootError> {
        let p = &self.outside;
        for dir in p.writable().into_iter().chain([&p.artifacts, &p.shared_distfiles]) {
            make_dir(dir)?;
        }
        // As /var/tmp is: the user that Portage drops root's rights to builds in it, too.
        for dir in [&p.tmp, &p.distfiles, &p.home] {
            let mode = fs::Permissions::from_mode(0o1777);
            fs::set_permissions(dir, mode).map_err(RootError::io("open up", dir))?;
        }
        cache::use_metadata(&p.depcache)?;
        // A Portage looks for its defaults below the prefix it believes in; where exactly
        // was decided when it was installed.
        if let (Some(stack), true) = (self.stack(), self.config.portage_prefix.is_some()) {
            for below in ["share/portage/config", "usr/share/portage/config"] {
                let to = stack.upper().join(below);
                make_dir(&to)?;
                for name in ["make.globals", "sets"] {
                    link(&self.prefix.join("share/portage/config").join(name), &to.join(name))?;
                }
            }
        }
        // Portage unpacks with gtar, which only Gentoo calls so.
        if let (None, Some(tar)) = (self.tree.program("gtar"), self.tree.program("tar")) {
            link(&tar, &p.tools.join("gtar"))?;
        }
        config::write(self)
    }

    /// Its directory.
    #[must_use]
    pub fn attempt(&self) -> &Path {
        &self.attempt
    }

    /// Where everything is on this machine.
    #[must_use]
    pub fn outside(&self) -> &Places {
        &self.outside
    }

    /// Where everything is for the programs that run in it.
    #[must_use]
    pub fn inside(&self) -> &Places {
        &self.inside
    }

    /// What the snapshot says of itself.
    #[must_use]
    pub fn manifest(&self) -> &SnapshotManifest {
        &self.manifest
    }

    /// Whether the snapshot has a directory. One that a layer hides counts, too.
    pub(super) fn has_in_snapshot(&self, path: &str) -> bool {
        let mut dirs = self.snapshot_layers.iter().chain([&self.outside.snapshot]);
        dirs.any(|dir| dir.join(path).is_dir())
    }

    /// The drone's settings.
    #[must_use]
    pub fn config(&self) -> &BuilderConfig {
        &self.config
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

    pub(super) fn unwanted(&self) -> &BTreeSet<String> {
        &self.unwanted
    }

    /// What the build's programs see as `/`, but for layers.
    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    fn stack(&self) -> Option<&Stack> {
        match &self.place {
            Place::Overlay(stack) => Some(stack),
            Place::Live => None,
        }
    }

    /// Where what was changed in it lies, if it is thrown away in the end.
    #[must_use]
    pub fn upper(&self) -> Option<PathBuf> {
        self.stack().map(Stack::upper)
    }

    /// What the machine itself has installed, if builds change that.
    #[must_use]
    pub fn live_packages(&self) -> Option<BTreeSet<String>> {
        (matches!(self.place, Place::Live) && !self.planning).then(|| self.tree.packages())
    }

    /// Whether all that is installed is thrown away in the end.
    #[must_use]
    pub fn is_thrown_away(&self) -> bool {
        self.stack().is_some()
    }

    /// The command that runs a program in this root.
    #[must_use]
    pub fn command(&self, program: &Path, args: Vec<OsString>) -> (PathBuf, Vec<OsString>) {
        match self.stack() {
            Some(stack) => stack.command(program, &args),
            None => (program.to_owned(), args),
        }
    }

    /// The whole environment of Portage's programs in this root.
    #[must_use]
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        let p = &self.inside;
        let mut path = p.tools.clone().into_os_string();
        path.push(":");
        path.push(self.prefix.join("bin"));
        path.push(":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let mut env: Vec<(OsString, OsString)> = vec![
            ("HOME".into(), p.home.clone().into()),
            ("PATH".into(), path),
            ("TERM".into(), "dumb".into()),
            ("NOCOLOR".into(), "true".into()),
            ("LC_ALL".into(), "C.UTF-8".into()),
            ("PYTHONUNBUFFERED".into(), "1".into()),
            ("PORTAGE_OVERRIDE_EPREFIX".into(), "".into()),
            ("EPREFIX".into(), "".into()),
            ("ROOT".into(), "/".into()),
            ("SYSROOT".into(), "/".into()),
            ("PORTAGE_CONFIGROOT".into(), p.config_root.clone().into()),
            ("PORTAGE_REPOSITORIES".into(), config::repositories(self).into()),
        ];
        env.extend(settings::settings(self).into_iter().map(|(name, value)| (name.into(), value.into())));
        let makeflags = |pipe: &PathBuf| format!("--jobserver-auth=fifo:{}", pipe.display());
        env.extend(self.jobserver.iter().map(|pipe| ("MAKEFLAGS".into(), makeflags(pipe).into())));
        for name in PASSED_ON {
            env.extend(std::env::var_os(name).map(|value| (name.into(), value)));
        }
        env
    }

    /// Says which USE flags packages are built with, each as an atom and its flags. It
    /// takes the place of what was said before.
    ///
    /// # Errors
    /// The disk.
    pub fn set_use(&self, entries: &[(String, Vec<String>)]) -> Result<(), RootError> {
        config::write_use(self, entries)
    }
}

/// What of the drone's directories is seen inside; the snapshot only if it is one directory.
fn binds(outside: &Places, inside: &Places, planning: bool, snapshot: bool) -> Vec<Bind> {
    let pairs = |from: &[&PathBuf], to: &[&PathBuf], writable| -> Vec<Bind> {
        let pair =
            |(from, to): (&&PathBuf, &&PathBuf)| Bind { from: (*from).clone(), to: (*to).clone(), writable };
        from.iter().zip(to).map(pair).collect()
    };
    let mut all = pairs(&outside.writable(), &inside.writable(), true);
    all.extend(pairs(&outside.read_only(), &inside.read_only(), false));
    if snapshot {
        let to = [&inside.snapshot, &inside.repositories];
        all.extend(pairs(&[&outside.snapshot, &outside.repositories], &to, false));
    }
    all.extend(pairs(&[&outside.depcache], &[&inside.depcache], planning));
    all
}

/// What brings up to date what is shared by all that is installed, after layers were put over
/// one another: the linker's cache, and the environment where a package adds to it.
fn refresh(layers: &[PathBuf], prefix: &Path) -> String {
    if layers.iter().any(|layer| layer.join("etc/env.d").is_dir()) {
        return format!("{}/sbin/env-update || {0}/bin/env-update", prefix.display());
    }
    match layers {
        [] => String::new(),
        _ => "if command -v ldconfig; then ldconfig; fi".into(),
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
