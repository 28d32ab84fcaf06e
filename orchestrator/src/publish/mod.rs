//! Writes the binary package hosts from which drones and workstations install.
//!
//! A [`Binhost`] is one directory with an index and hard links into the store, so several of them (one per
//! run, and `stable` of each profile) share the files; a [`NixCache`] is the same for Nix. [`Binhosts`] knows
//! their directories, and [`Progress`] what is published. Nothing here decides what belongs to a channel,
//! signs anything or speaks HTTP. [`conditional`] and [`layout`] contain the rules for serving over HTTP,
//! [`small`] caches small files, and [`whole`] checks an index for damage.

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
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use swarm_common::{digest::Digest, wire::admin::BuilderKind};

/// A published file that is a copy of a stored file instead of a link: digest, size in bytes, and path.
pub type Copied = (Digest, u64, PathBuf);

/// The kind of builder that a directory was published for; Portage if it is empty.
pub(crate) fn kind(dir: &Path) -> BuilderKind {
    if NixCache::is_in(dir) { BuilderKind::Nix } else { BuilderKind::Portage }
}

/// Empties a channel's directory if another kind of builder published there, for a removed profile with the
/// same name.
///
/// # Errors
/// The disk fails.
pub(crate) fn clear_other(dir: &Path, expected: BuilderKind) -> Result<(), DiskError> {
    if kind(dir) == expected || !dir.exists() {
        return Ok(());
    }
    fs::remove_dir_all(dir).map_err(DiskError::at("remove", dir))
}

/// Removes files from a channel's directory that were replaced more than `grace` seconds before `now`, except
/// the generations `kept` of a cache. Returns the number of removed files.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_of_another_kind_is_emptied_and_one_of_its_own_kind_stays() {
        let dir = tempfile::tempdir().unwrap();
        let channel = dir.path().join("stable");
        clear_other(&channel, BuilderKind::Nix).unwrap();
        for (file, own, other) in [
            ("Packages", BuilderKind::Portage, BuilderKind::Nix),
            ("nix-cache-info", BuilderKind::Nix, BuilderKind::Portage),
        ] {
            fs::create_dir_all(&channel).unwrap();
            fs::write(channel.join(file), "").unwrap();
            clear_other(&channel, own).unwrap();
            assert!(channel.join(file).exists(), "{file}");
            clear_other(&channel, other).unwrap();
            assert!(!channel.exists(), "{file}");
        }
    }
}
