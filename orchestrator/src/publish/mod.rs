//! Writes the binary package hosts from which drones and workstations install.
//!
//! A [`Binhost`] is one directory with an index and hard links into the store, so several of them
//! (one per run, and `stable` of each profile) share the files; a [`NixCache`] is the same for Nix.
//! [`Binhosts`] knows their places, and [`Progress`] what is published. Nothing here decides what
//! belongs to a channel, signs anything or speaks HTTP. [`conditional`] and [`layout`] have the rules for
//! serving over HTTP, [`small`] caches small files, and [`whole`] checks an index for damage.

mod beneath;
mod binhost;
mod binhosts;
pub mod cache;
pub mod conditional;
pub(crate) mod generations;
pub mod layout;
mod progress;
pub(crate) mod small;
pub(crate) mod whole;

pub use binhost::{Binhost, Outcome, PublishError, Published};
pub use binhosts::Binhosts;
pub use cache::NixCache;
pub use generations::Generations;
pub use progress::Progress;

use crate::{sign::NixKeys, store::disk::DiskError};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};
use swarm_common::{digest::Digest, wire::admin::BuilderKind};

/// A published file that is a copy of a stored one instead of a link: its digest, its size in bytes and its path.
pub type Copied = (Digest, u64, PathBuf);

/// The kind of builder that a directory was published for; Portage if nothing was.
pub(crate) fn kind(dir: &Path) -> BuilderKind {
    if NixCache::is_in(dir) { BuilderKind::Nix } else { BuilderKind::Portage }
}

/// Removes from a channel's directory what was replaced more than `grace` seconds before `now`, except the
/// generations `kept` of a cache. Returns the number of removed files.
///
/// # Errors
/// The disk fails.
pub fn sweep(
    dir: &Path,
    now: u64,
    grace: u64,
    kept: &BTreeSet<u64>,
    keys: Option<Arc<NixKeys>>,
) -> Result<usize, DiskError> {
    if !dir.is_dir() {
        return Ok(0);
    }
    match kind(dir) {
        BuilderKind::Portage => Binhost::open(dir, Generations::Keep, BTreeMap::new())?.sweep(now, grace),
        BuilderKind::Nix => NixCache::open(dir, keys)?.sweep(now, grace, kept),
    }
}
