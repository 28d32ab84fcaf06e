//! Makes a build root.

use super::{Root, RootBacking, cache, make_conf, paths::RootPaths, settings};
use crate::{
    buildroot::{
        RootError, Tree, make_dir, replaced,
        stack::{Bind, Stack},
    },
    config::{BuilderConfig, RootKind},
    jobserver::PIPE,
};
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};
use swarm_common::digest::Digest;
use swarm_formats::snapshot::{MANIFEST, SnapshotManifest};

/// Directories of the machine that builds must not see.
const PRIVATE: [&str; 3] = ["/root", "/home", "/etc/build-swarm"];

/// The parameters of a build root.
#[derive(Debug, Clone)]
pub struct RootOptions<'a> {
    /// An existing, empty directory for this root.
    pub attempt: &'a Path,
    /// The unpacked snapshot. For a layered snapshot, the directory with its manifest and `etc`.
    pub snapshot: &'a Path,
    /// The layers of the snapshot, lowest first; empty if it is a single directory.
    pub snapshot_layers: &'a [PathBuf],
    pub snapshot_digest: Digest,
    pub config: &'a BuilderConfig,
    /// Maximum number of parallel jobs of the build; 0 uses the drone's setting.
    pub jobs: u32,
    /// Directories of the drone that builds must not see.
    pub hidden: &'a [PathBuf],
    /// The directory of the jobserver's pipe, if builds share one.
    pub jobserver: Option<&'a Path>,
    /// The layers of installed packages, lowest first.
    pub layers: Vec<PathBuf>,
    /// Paths of the base that these packages have replaced.
    pub gone: Vec<PathBuf>,
    /// The root is for a plan, so nothing is installed permanently.
    pub planning: bool,
}

impl Root {
    /// Makes the build root. After an error, nothing needs to be undone, because the drone removes the
    /// attempt's directory.
    ///
    /// # Errors
    /// An I/O error, an invalid snapshot, or a missing Portage.
    pub fn make(from: RootOptions<'_>) -> Result<Self, RootError> {
        let config = from.config;
        let manifest = read_manifest(from.snapshot)?;
        let prefix = config.portage_prefix.clone().unwrap_or_else(|| PathBuf::from("/usr"));
        let base = config.base();
        let tree = Tree::at(base);
        for needed in ["bin/emerge", "share/portage/config/make.globals"] {
            let path = prefix.join(needed);
            // A configured prefix is a path on this machine. The default prefix is part of the base.
            let there = if config.portage_prefix.is_some() { path.exists() } else { tree.has(&path) };
            if !there {
                return Err(RootError::NoPortage(prefix, base.to_owned(), path));
            }
        }
        // Portage resolves symbolic links in paths, so these paths must be resolved too.
        let real = |path: &Path| path.canonicalize().map_err(RootError::io("find", path));
        let (attempt, snapshot) = (real(from.attempt)?, real(from.snapshot)?);
        make_dir(&config.cache_dir)?;
        let outside =
            RootPaths::outside(&attempt, &snapshot, &real(&config.cache_dir)?, from.snapshot_digest);
        let jobs = match (from.jobs, config.jobs()) {
            (0, own) => own,
            (limit, own) => limit.min(own),
        };
        let mut jobserver = None;
        let (backing, inside) = match config.root_kind {
            RootKind::Overlay => {
                let inside = RootPaths::inside();
                let mut hidden: Vec<PathBuf> = PRIVATE.iter().map(PathBuf::from).collect();
                hidden.extend(from.hidden.iter().cloned());
                let mut binds = binds(&outside, &inside, from.planning, from.snapshot_layers.is_empty());
                binds.extend(config.portage_prefix.clone().map(|at| Bind {
                    to: at.clone(),
                    from: at,
                    writable: false,
                }));
                if let Some(dir) = from.jobserver {
                    // This path must be below one that Portage's sandbox lets builds write to.
                    let to = inside.tmp.join("jobserver");
                    jobserver = Some(to.join(PIPE));
                    binds.push(Bind { from: dir.to_owned(), to, writable: false });
                }
                let binds = Stack::resolve(binds, &tree);
                let refresh = refresh(&from.layers, &prefix);
                let mut layers = from.layers;
                if !from.gone.is_empty() {
                    let at = attempt.join("gone");
                    replaced::hide(&from.gone, &tree, &at)?;
                    layers.insert(0, at);
                }
                let mut stack = Stack::make(base, &attempt, &layers, refresh, hidden, binds)?;
                let seen = [&inside.snapshot, &inside.repositories].map(|path| tree.resolve(path));
                stack.lay_snapshot(from.snapshot_layers, seen)?;
                (RootBacking::Overlay(Box::new(stack)), inside)
            }
            RootKind::Live if rustix::process::geteuid().is_root() => (RootBacking::Live, outside.clone()),
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
            backing,
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
        // With the mode of /var/tmp, because builds run as an unprivileged user.
        for dir in [&p.tmp, &p.distfiles, &p.home] {
            let mode = fs::Permissions::from_mode(0o1777);
            fs::set_permissions(dir, mode).map_err(RootError::io("open up", dir))?;
        }
        cache::use_metadata(&p.depcache)?;
        // Portage looks for its defaults below a prefix that was fixed when it was installed. Provide both
        // possible ones.
        if let (Some(stack), true) = (self.stack(), self.config.portage_prefix.is_some()) {
            for below in ["share/portage/config", "usr/share/portage/config"] {
                let to = stack.upper().join(below);
                make_dir(&to)?;
                for name in ["make.globals", "sets"] {
                    link(&self.prefix.join("share/portage/config").join(name), &to.join(name))?;
                }
            }
        }
        // Portage unpacks with `gtar`, a name that only Gentoo provides.
        if let (None, Some(tar)) = (self.tree.program("gtar"), self.tree.program("tar")) {
            link(&tar, &p.tools.join("gtar"))?;
        }
        make_conf::write(self)
    }
}

/// The bind mounts of the drone's directories. `snapshot` says whether to include the snapshot, which is
/// bind-mounted only if it is a single directory.
fn binds(outside: &RootPaths, inside: &RootPaths, planning: bool, snapshot: bool) -> Vec<Bind> {
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

/// Shell command that regenerates files shared by all packages after layers were stacked: the linker cache,
/// and the environment if a package contributes to it.
fn refresh(layers: &[PathBuf], prefix: &Path) -> String {
    // Portage leaves an empty directory after merging a package that contributes nothing.
    let contributes =
        |layer: &PathBuf| fs::read_dir(layer.join("etc/env.d")).is_ok_and(|mut files| files.next().is_some());
    if layers.iter().any(contributes) {
        return format!("PATH={0}/sbin:{0}/bin:$PATH env-update", prefix.display());
    }
    match layers {
        [] => String::new(),
        _ => "! command -v ldconfig || ldconfig".into(),
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
