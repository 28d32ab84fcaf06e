//! Writes the binary package hosts from which drones and workstations install.
//!
//! A [`Binhost`] is one directory with an index and hard links into the store, so several of them (one per
//! run, and `stable` of each profile) share the files; a [`NixCache`] is the same for Nix. A [`ChannelWriter`]
//! publishes a profile's channel for one kind of builder. [`Binhosts`] knows the directories, and [`Progress`]
//! what is published. Nothing here decides what belongs to a channel, signs packages or speaks HTTP.

mod binhosts;
mod channel;
mod error;
pub(crate) mod generations;
pub mod nix;
pub mod portage;
mod progress;

pub use binhosts::Binhosts;
pub use channel::{ChannelContent, ChannelOutcome, ChannelWriter};
pub use error::PublishError;
pub use generations::Generations;
pub use nix::{Nix, cache::NixCache};
pub use portage::{Binhost, Portage, Published};
pub use progress::Progress;

use crate::{kinds::PerKind, store::disk::DiskError};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use swarm_common::{digest::Digest, wire::admin::BuilderKind};

/// A published file that is a copy of a stored file instead of a link: digest, size in bytes, and path.
pub type Copied = (Digest, u64, PathBuf);

/// Writes the channels of each kind of builder.
pub type ChannelWriters = PerKind<Arc<dyn ChannelWriter>>;

impl ChannelWriters {
    /// Empties a channel's directory if a kind other than `expected` published there, for a removed profile
    /// with the same name.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) fn clear_others(&self, expected: BuilderKind, dir: &Path) -> Result<(), DiskError> {
        if self.iter().any(|(kind, writer)| kind != expected && writer.is_in(dir)) {
            fs::remove_dir_all(dir).map_err(DiskError::at("remove", dir))?;
        }
        Ok(())
    }

    /// Sweeps a channel's directory; see [`ChannelWriter::sweep`].
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) fn sweep(
        &self,
        dir: &Path,
        now: u64,
        grace: u64,
        kept: &BTreeSet<u64>,
    ) -> Result<usize, DiskError> {
        let here = self.iter().filter(|(_, writer)| writer.is_in(dir));
        here.map(|(_, writer)| writer.sweep(dir, now, grace, kept)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        logs::Logs,
        nix::{listings::Listings, upstream::Upstreams},
        store::{LocalStore, entries::IndexEntryCache, snapshots::Snapshots},
    };
    use swarm_common::wire::channel::ChannelName;
    use swarm_formats::portage::gpkg::Limits;

    const NOW: u64 = 1_800_000_000;

    fn writers(dir: &Path) -> ChannelWriters {
        let store = Arc::new(LocalStore::open(dir.join("store")).unwrap());
        let entries = IndexEntryCache::open(dir.join("entries"), store.clone(), Limits::default()).unwrap();
        let snapshots = Snapshots::open(dir.join("snapshots")).unwrap();
        let nix = Nix {
            store: store.clone(),
            keys: None,
            listings: Listings::open(dir.join("listings"), store.clone()).unwrap(),
            logs: Arc::new(Logs::open(dir.join("logs")).unwrap()),
            upstreams: Arc::new(Upstreams::new(snapshots, dir.join("netrc"))),
        };
        PerKind { portage: Arc::new(Portage { store, entries }), nix: Arc::new(nix) }
    }

    fn content(number: u64) -> ChannelContent {
        ChannelContent {
            profile: "desk".parse().unwrap(),
            channel: ChannelName::Stable,
            number,
            received: Vec::new(),
            kept: Vec::new(),
            hosts: Vec::new(),
        }
    }

    #[test]
    fn a_channel_of_another_kind_is_emptied_and_one_of_its_own_kind_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (writers, channel) = (writers(dir.path()), dir.path().join("stable"));
        for (kind, writer) in writers.iter() {
            assert!(!writer.is_in(&channel));
            writers.clear_others(kind, &channel).unwrap();
            writer.publish(NOW, &channel, &content(1)).unwrap();
            for (other, of_other) in writers.iter() {
                assert_eq!(of_other.is_in(&channel), kind == other);
            }
            writers.clear_others(kind, &channel).unwrap();
            assert!(writer.is_in(&channel));
            for (other, _) in writers.iter().filter(|(other, _)| *other != kind) {
                writers.clear_others(other, &channel).unwrap();
                assert!(!channel.exists(), "{kind:?}");
            }
        }
    }

    #[test]
    fn old_generations_are_swept_of_whatever_kind() {
        let dir = tempfile::tempdir().unwrap();
        let writers = writers(dir.path());
        for (kind, writer) in writers.iter() {
            let channel = dir.path().join(format!("{kind:?}"));
            let numbers = || generations::numbers(&channel).unwrap();
            writer.publish(NOW, &channel, &content(1)).unwrap();
            writer.publish(NOW + 10, &channel, &content(2)).unwrap();
            writers.sweep(&channel, NOW + 20, 60, &BTreeSet::new()).unwrap();
            assert_eq!(numbers(), [1, 2], "{kind:?}");
            writers.sweep(&channel, NOW + 70, 60, &BTreeSet::new()).unwrap();
            assert_eq!(numbers(), [2], "{kind:?}");
        }
        let nothing = dir.path().join("nothing");
        assert_eq!(writers.sweep(&nothing, NOW, 0, &BTreeSet::new()).unwrap(), 0);
        assert!(!nothing.exists());
    }

    #[test]
    fn a_binary_package_host_without_its_index_is_recognised() {
        let dir = tempfile::tempdir().unwrap();
        let (writers, channel) = (writers(dir.path()), dir.path().join("stable"));
        writers.portage.publish(NOW, &channel, &content(1)).unwrap();
        fs::remove_file(channel.join("Packages")).unwrap();
        assert!(writers.portage.is_in(&channel));
    }
}
