//! The build root of one attempt: its directories, Portage's configuration in it, and how programs run in it.
//! A build root is made from a base and layers and removed afterwards, or is the machine's own `/`.
//!
//! Plans and packages are made in the same kind of root. Portage's `ROOT` is `/`, where the base is.

mod cache;
mod environment;
mod make;
mod make_conf;
mod paths;
mod settings;

pub use cache::{keep_distfiles, prune_cache};
pub use make::RootOptions;

use crate::{
    buildroot::{Tree, stack::Stack},
    config::BuilderConfig,
};
use paths::RootPaths;
use std::{
    collections::BTreeSet,
    ffi::OsString,
    path::{Path, PathBuf},
};
use swarm_formats::snapshot::SnapshotManifest;

#[derive(Debug)]
enum RootBacking {
    /// An overlay over a base.
    Overlay(Box<Stack>),
    Live,
}

/// A build root that is ready for use.
#[derive(Debug)]
pub(super) struct Root {
    attempt: PathBuf,
    outside: RootPaths,
    inside: RootPaths,
    snapshot_layers: Vec<PathBuf>,
    manifest: SnapshotManifest,
    prefix: PathBuf,
    config: BuilderConfig,
    jobs: u32,
    backing: RootBacking,
    tree: Tree,
    planning: bool,
    /// The path of the jobserver's pipe inside.
    jobserver: Option<PathBuf>,
    /// Variables that the bundle sets and that must have no effect in this root.
    unwanted: BTreeSet<String>,
}

impl Root {
    #[must_use]
    pub fn attempt(&self) -> &Path {
        &self.attempt
    }

    /// The paths on this machine.
    #[must_use]
    pub fn outside(&self) -> &RootPaths {
        &self.outside
    }

    /// The paths for programs that run in the root.
    #[must_use]
    pub fn inside(&self) -> &RootPaths {
        &self.inside
    }

    #[must_use]
    pub fn manifest(&self) -> &SnapshotManifest {
        &self.manifest
    }

    /// Whether the snapshot contains a directory, even if a higher layer hides it.
    fn has_in_snapshot(&self, path: &str) -> bool {
        let mut dirs = self.snapshot_layers.iter().chain([&self.outside.snapshot]);
        dirs.any(|dir| dir.join(path).is_dir())
    }

    #[must_use]
    pub fn config(&self) -> &BuilderConfig {
        &self.config
    }

    /// Maximum number of compilers that a build may run at once.
    #[must_use]
    pub fn jobs(&self) -> u32 {
        self.jobs
    }

    /// The path of a program of Portage, such as `emerge`.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.prefix.join("bin").join(name)
    }

    /// The Python interpreter for Portage.
    #[must_use]
    pub fn python(&self) -> PathBuf {
        let own = self.prefix.join("bin/python");
        let brought = self.config.portage_prefix.is_some();
        if brought && own.exists() {
            return own;
        }
        // Do not resolve links: a virtual environment is recognised by the path of its `python` link.
        ["python3", "python"]
            .iter()
            .find_map(|name| self.tree.program(name))
            .unwrap_or("/usr/bin/python3".into())
    }

    fn unwanted(&self) -> &BTreeSet<String> {
        &self.unwanted
    }

    /// The tree that the build sees as `/`, without layers.
    fn tree(&self) -> &Tree {
        &self.tree
    }

    fn stack(&self) -> Option<&Stack> {
        match &self.backing {
            RootBacking::Overlay(stack) => Some(stack),
            RootBacking::Live => None,
        }
    }

    /// The directory with the changes made in this root; `None` for a live root.
    #[must_use]
    pub fn upper(&self) -> Option<PathBuf> {
        self.stack().map(Stack::upper)
    }

    /// The packages installed on the machine; `None` if builds in this root do not change them.
    #[must_use]
    pub fn live_packages(&self) -> Option<BTreeSet<String>> {
        (matches!(self.backing, RootBacking::Live) && !self.planning).then(|| self.tree.packages())
    }

    /// Whether everything installed in this root is discarded at the end.
    #[must_use]
    pub fn is_thrown_away(&self) -> bool {
        self.stack().is_some()
    }

    /// Returns the command line that runs a program in this root.
    #[must_use]
    pub fn command(&self, program: &Path, args: Vec<OsString>) -> (PathBuf, Vec<OsString>) {
        match self.stack() {
            Some(stack) => stack.command(program, &args),
            None => (program.to_owned(), args),
        }
    }
}
