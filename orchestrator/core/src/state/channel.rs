//! The channel of a profile: what its runs lead to, and the generations that are made of it.

use super::collision::Apart;
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
    /// The run that it follows; none before the first run that had packages to publish.
    pub run: Option<RunId>,
    /// Incremented whenever the contents are determined again.
    pub revision: u64,
    /// Its contents by digest. The contents are closed: whatever one of them needs is among them.
    pub held: BTreeMap<Digest, Held>,
    /// Packages left out because they cannot be installed beside something in the channel.
    #[serde(default)]
    pub apart: BTreeMap<Digest, Apart>,
    /// For Nix: what each attribute and host is at, all of it served.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<ChannelRoot>,
}

impl Channel {
    /// Takes the contents after a run.
    pub(crate) fn move_to(&mut self, next: Self) {
        *self = Self { revision: self.revision + 1, ..next };
    }
}

/// An artifact in a channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The stored file.
    #[serde(with = "crate::record")]
    pub artifact: Artifact,
    /// The artifacts that must be installed for it to work.
    pub needs: BTreeSet<Digest>,
    /// Whether the channel offers it in its slot. Other artifacts are there only because something
    /// that stays needs them.
    pub current: bool,
    /// The last run that received or reused it.
    pub run: RunId,
}

/// What an attribute of a Nix profile is at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelRoot {
    /// The attribute and its store path.
    #[serde(with = "crate::record")]
    pub root: NixRoot,
    /// The run that first had this path whole.
    pub run: RunId,
    /// When that was.
    pub at: TimeMs,
}

/// The generations of a profile's channel.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct History {
    /// The generations kept, the current one last.
    pub generations: Vec<Generation>,
    /// The artifacts in them.
    #[serde(with = "crate::record")]
    pub artifacts: BTreeMap<Digest, Artifact>,
    /// Whether it stays at its generation although runs lead to others. Only a stable channel does.
    pub held: bool,
    /// The last number that is published but not known here, as after a restore of the journal.
    pub skipped: u64,
}

/// A generation. Its content never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Its number; that of a later generation is higher.
    pub number: u64,
    /// The run that its content comes from.
    pub run: RunId,
    /// When it was made.
    pub at: TimeMs,
    /// The earlier generation whose content it repeats.
    pub like: Option<u64>,
    /// The last revision of the channel with this content.
    pub revision: u64,
    /// Its artifacts.
    pub artifacts: Shared<BTreeSet<Digest>>,
    /// For Nix: what each attribute and host is at.
    pub roots: Shared<Vec<ChannelRoot>>,
}

impl History {
    /// The current generation.
    #[must_use]
    pub fn current(&self) -> Option<&Generation> {
        self.generations.last()
    }

    /// The generation with this number, if it is kept.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<&Generation> {
        self.generations.iter().find(|generation| generation.number == number)
    }

    /// The last generation before the one that the current one is, or was rolled back to, and that
    /// has other content.
    pub(crate) fn before(&self, current: &Generation) -> Option<&Generation> {
        let number = current.like.unwrap_or(current.number);
        let is_before = |g: &&Generation| g.number < number && g.revision != current.revision;
        self.generations.iter().rfind(is_before)
    }

    /// The channel's content was determined again. Without a change, that is no new generation.
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
