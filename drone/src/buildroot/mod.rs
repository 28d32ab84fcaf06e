//! The place one attempt builds in: made from a base and layers, gone afterwards.
//!
//! A [`Root`] is an overlay over a *base* (a root file system with compiler, `@system` and
//! Portage), with one [`layer`] for each artifact that the order names, and one writable directory
//! on top. Nothing else is installed in it, and nothing is installed twice: a layer is made once
//! for each artifact and kept. A `live` root is the machine's own `/` instead.
//!
//! This module writes what Portage reads and decides nothing about packages.

mod cache;
mod config;
mod entry;
mod flat;
pub mod layer;
pub mod layers;
mod places;
mod root;
mod settings;
mod stack;
mod tree;
pub mod whole;

pub use cache::{keep_distfiles, prune_cache};
pub use flat::flatten;
pub use places::Places;
pub use root::{Ingredients, Root};
pub use stack::MOST_LAYERS;
pub use tree::Tree;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// How a build root is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootKind {
    /// An overlay over the base. Takes root, be it of a user namespace.
    #[default]
    Overlay,
    /// Packages are installed into the machine's own `/`, for good. For a machine that is
    /// nothing but a drone. Takes root.
    Live,
}

impl RootKind {
    /// The word in the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
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
    #[error("a build root takes a drone that runs as root: it is mounted and entered with mount and chroot")]
    NotRoot,
    /// It belongs to nobody in the drone's user namespace, so nothing in it can be changed.
    #[error(
        "the root {0} belongs to nobody in this drone's user namespace: it builds in images only; run it as root"
    )]
    NotOurs(PathBuf),
    /// There is no Portage where the configuration says.
    #[error(
        "there is no Portage in {0} of the root {1}: {2} is missing; set builder.portage_prefix to where Portage is installed"
    )]
    NoPortage(PathBuf, PathBuf, PathBuf),
    /// The kernel takes no overlay of so many directories.
    #[error("{0} packages are installed beside the base; an overlay takes at most {MOST_LAYERS}")]
    TooManyLayers(usize),
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
