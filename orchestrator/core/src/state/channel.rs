//! The channel of a profile: what its runs lead to, and the generations that are made from that.

use super::collision::Exclusion;
use crate::shared::Shared;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{
    digest::Digest,
    id::RunId,
    time::TimeMs,
    wire::{artifact::Artifact, nix::NixRoot},
};

/// What the runs of a profile lead to.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Channel {
    /// The run that the channel follows. `None` before the first run that had packages to publish.
    pub run: Option<RunId>,
    /// Incremented whenever the contents are determined again.
    pub revision: u64,
    /// The contents by digest. They are closed: whatever one artifact needs is among them.
    pub held: BTreeMap<Digest, ChannelArtifact>,
    /// Packages left out because they cannot be installed beside something in the channel.
    #[serde(default)]
    pub apart: BTreeMap<Digest, Exclusion>,
    /// For Nix: the store path of each attribute and host. All of them are served.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<ChannelRoot>,
}

impl Channel {
    /// Replaces the contents, and increments the revision.
    pub(crate) fn move_to(&mut self, next: Self) {
        *self = Self { revision: self.revision + 1, ..next };
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelArtifact {
    #[serde(with = "crate::record")]
    pub artifact: Artifact,
    /// The artifacts that must be installed for this one to work.
    pub needs: BTreeSet<Digest>,
    /// Whether the channel offers the artifact in its slot. Other artifacts are there only because something
    /// that stays needs them.
    pub current: bool,
    /// The last run that received or reused the artifact.
    pub run: RunId,
}

/// The store path of an attribute of a Nix profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelRoot {
    #[serde(with = "crate::record")]
    pub root: NixRoot,
    /// The first run that had received the whole closure of this path.
    pub run: RunId,
    /// When that run had received it.
    pub at: TimeMs,
}

/// The generations of a profile's channel.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct History {
    /// The generations kept, the current one last.
    pub generations: Vec<Generation>,
    /// The artifacts of all kept generations.
    #[serde(with = "crate::record")]
    pub artifacts: BTreeMap<Digest, Artifact>,
    /// Whether the channel stays at its generation although runs lead to others. Only a stable channel can.
    pub held: bool,
    /// The last published number that this journal does not know, as after a restore.
    pub skipped: u64,
}

/// A generation. Its content never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Numbers increase from generation to generation.
    pub number: u64,
    /// The run that the content comes from.
    pub run: RunId,
    pub at: TimeMs,
    /// The earlier generation whose content this one repeats.
    pub like: Option<u64>,
    /// The last revision of the channel with this content.
    pub revision: u64,
    pub artifacts: Shared<BTreeSet<Digest>>,
    /// For Nix: the store path of each attribute and host.
    pub roots: Shared<Vec<ChannelRoot>>,
}

impl History {
    #[must_use]
    pub fn current(&self) -> Option<&Generation> {
        self.generations.last()
    }

    /// The generation with this number, if it is kept.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<&Generation> {
        self.generations.iter().find(|generation| generation.number == number)
    }

    /// The last generation with other content before the current one, or before the one that the current one
    /// was rolled back to.
    pub(crate) fn before(&self, current: &Generation) -> Option<&Generation> {
        let number = current.like.unwrap_or(current.number);
        let is_before = |g: &&Generation| g.number < number && g.revision != current.revision;
        self.generations.iter().rfind(is_before)
    }

    /// Records that the channel's content was determined again. Without a change, that is no new generation.
    pub(crate) fn note(&mut self, channel: &Channel) {
        let is_same =
            |g: &&mut Generation| g.artifacts.iter().eq(channel.held.keys()) && *g.roots == channel.roots;
        if let Some(current) = self.generations.last_mut().filter(is_same) {
            current.revision = channel.revision;
        }
    }

    pub(crate) fn forget(&mut self, number: u64) {
        self.generations.retain(|generation| generation.number != number);
        let kept: BTreeSet<Digest> =
            self.generations.iter().flat_map(|g| g.artifacts.iter().copied()).collect();
        self.artifacts.retain(|digest, _| kept.contains(digest));
    }
}
