//! The file system of a build root: an overlay over a *base* (a root file system with a compiler, `@system`
//! and Portage) with one [`layer`] for each artifact in the order and a writable directory on top.
//!
//! Nothing else is installed in it, and files of the base that an artifact [replaces](replaced) are hidden.
//! Layers are made once for each artifact and cached.

mod entry;
mod flat;
pub mod layer;
pub mod layers;
pub mod replaced;
pub(crate) mod stack;
mod tree;
pub mod whole;

pub use flat::flatten;
pub use stack::MOST_LAYERS;
pub use tree::Tree;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Why a build root cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    #[error("the build root cannot be made: {what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    /// The snapshot is not valid.
    #[error("cannot build from the snapshot: {0}")]
    Snapshot(String),
    /// Mounting and installing into `/` need root privileges.
    #[error("a build root needs a drone that runs as root, as it uses mount and chroot")]
    NotRoot,
    /// The base is owned by a user that the drone's user namespace does not map, so the drone cannot change
    /// it.
    #[error(
        "the owner of the root {0} is not mapped in this drone's user namespace, so it can only build in \
         images; run the drone as root"
    )]
    NotOurs(PathBuf),
    /// Portage is not where the configuration says.
    #[error(
        "no Portage in {0} of the root {1}: {2} is missing; set builder.portage_prefix to where Portage is \
         installed"
    )]
    NoPortage(PathBuf, PathBuf, PathBuf),
    /// The kernel limits the number of directories in an overlay.
    #[error("{0} packages are to be installed on the base; an overlay has at most {MOST_LAYERS} layers")]
    TooManyLayers(usize),
}

impl RootError {
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}

/// Makes a directory and those above it.
pub(crate) fn make_dir(path: &Path) -> Result<(), RootError> {
    fs::create_dir_all(path).map_err(RootError::io("make the directory", path))
}
