//! The place one attempt builds in: made from nothing, gone afterwards.
//!
//! A scratch [`Root`] is a directory with two empty Portage roots: `root`, where
//! libraries are installed and against which packages are built, and `broot`, where
//! build tools are installed. Packages have plain `/usr` paths, and the machine's own
//! packages are neither used nor changed (the compiler and the shell are the machine's).
//! It needs no privileges and no Gentoo: a Portage in a Python environment is enough.
//! The other kinds build in a whole system's `/`, which only root may.
//!
//! This module writes what Portage reads and decides nothing about packages.

mod cache;
mod config;
mod overlay;
mod root;
mod tree;

pub use cache::prune_cache;
pub use root::{Paths, Root};

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// How a build root is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootKind {
    /// Two empty roots in a directory of the attempt.
    #[default]
    Scratch,
    /// The same, but packages are built and installed in an overlay over `base_root`, as its
    /// `/`. Takes root. Plans are still made against the two empty roots, inside.
    Overlay,
    /// The same, but packages are installed into the machine's own `/`, for good. For a
    /// machine that is nothing but a drone. Takes root.
    Live,
}

impl RootKind {
    /// The word in the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Scratch => "scratch",
            Self::Overlay => "overlay",
            Self::Live => "live",
        }
    }
}

/// Why there is no build root.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The disk, or a permission.
    #[error("the build root cannot be made: {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
    /// The snapshot is not one that can be built from.
    #[error("the snapshot cannot be built from: {0}")]
    Snapshot(String),
    /// Only root can mount, and install into a `/`.
    #[error(
        "root_kind overlay and live need a drone that runs as root; run it so, or set builder.root_kind to scratch"
    )]
    NotRoot,
    /// There is no Portage where the configuration says.
    #[error(
        "there is no Portage in {0} of the root {1}: {2} is missing; set builder.portage_prefix to where Portage is installed"
    )]
    NoPortage(PathBuf, PathBuf, PathBuf),
}

impl RootError {
    fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}

fn make_dir(path: &Path) -> Result<(), RootError> {
    fs::create_dir_all(path).map_err(RootError::io("make the directory", path))
}
