//! The interface for publishing a channel, implemented for each kind of builder.

use super::PublishError;
use crate::store::disk::DiskError;
use std::{collections::BTreeSet, path::Path};
use swarm_common::{
    digest::Digest,
    name::Name,
    wire::{artifact::Artifact, channel::ChannelName},
};
use swarm_core::state::ChannelRoot;

/// The desired content of a profile's channel.
pub struct ChannelContent {
    pub profile: Name,
    pub channel: ChannelName,
    /// The number of the generation.
    pub number: u64,
    /// Artifacts that the channel's run received or reused.
    pub received: Vec<Artifact>,
    /// Artifacts kept from earlier runs.
    pub kept: Vec<Artifact>,
    /// For Nix: the system of each host, and the snapshot it was evaluated from if its run is still known.
    pub hosts: Vec<(ChannelRoot, Option<Digest>)>,
}

/// The result of publishing a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelOutcome {
    /// Number of the current generation; 0 before the first.
    pub generation: u64,
    /// Number of packages (for Nix: of store paths) in the current generation.
    pub packages: u64,
    /// Artifacts that were omitted because they, or store paths that they refer to, are not in the store.
    pub missing: Vec<Digest>,
}

/// Writes the channels of one kind of builder.
pub trait ChannelWriter: Send + Sync {
    /// Whether the channel in `dir` was written by this kind.
    fn is_in(&self, dir: &Path) -> bool;

    /// Makes the channel in `dir` contain exactly `content`. A later sweep removes everything else. `now` is in
    /// seconds since the Unix epoch.
    ///
    /// # Errors
    /// See [`PublishError`].
    fn publish(&self, now: u64, dir: &Path, content: &ChannelContent)
    -> Result<ChannelOutcome, PublishError>;

    /// Removes files from the channel in `dir` that were replaced more than `grace` seconds before `now`. May
    /// keep those of the generations `kept` for longer. Returns the number of removed files.
    ///
    /// # Errors
    /// The disk fails; the rest is removed next time.
    fn sweep(&self, dir: &Path, now: u64, grace: u64, kept: &BTreeSet<u64>) -> Result<usize, DiskError>;
}
