//! The state of a profile.

use super::{
    calendar::Timer,
    candidate::Candidates,
    channel::{Channel, Generation, History},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{
    cpv::Cpv,
    digest::Digest,
    time::TimeMs,
    wire::{admin::ProfileRequest, artifact::Artifact, channel::ChannelName},
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// The content of the profile, as set by an admin.
    #[serde(with = "crate::record")]
    pub request: ProfileRequest,
    /// Number of the published generation; 0 before the first.
    pub generation: u64,
    /// Number of packages in that generation.
    pub published_packages: u64,
    /// The last build id assigned or adopted for each version. A new build id is above those of all profiles,
    /// so that the content of a published path never changes.
    pub build_ids: BTreeMap<Cpv, u32>,
    /// What the profile's runs lead to. Not optional: a checkpoint without this field is not used, and the
    /// events are replayed instead.
    pub channel: Channel,
    #[serde(default)]
    pub stable: History,
    #[serde(default)]
    pub staging: History,
    /// Number of the published generation of the staging channel; 0 before the first.
    #[serde(default)]
    pub staging_generation: u64,
    /// The generations of the stable channel that are kept until they are unpinned, each with the admin's note,
    /// which may be empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pins: BTreeMap<u64, String>,
    #[serde(default, skip_serializing_if = "Candidates::is_empty")]
    pub candidates: Candidates,
    /// The profile's update timer. `None` if none has reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<Timer>,
}

impl Profile {
    /// The snapshot that the next run builds.
    #[must_use]
    pub fn next_snapshot(&self) -> Digest {
        self.candidates.offered.as_ref().map_or(self.request.snapshot, |offered| offered.snapshot)
    }

    /// The snapshots that the profile needs: the pinned one, and those of candidates.
    pub fn snapshots(&self) -> impl Iterator<Item = Digest> {
        let candidates = self.candidates.open().map(|(_, content)| content.snapshot);
        candidates.chain([self.request.snapshot])
    }

    #[must_use]
    pub fn history(&self, channel: ChannelName) -> &History {
        match channel {
            ChannelName::Stable => &self.stable,
            ChannelName::Staging => &self.staging,
        }
    }

    fn history_mut(&mut self, channel: ChannelName) -> &mut History {
        match channel {
            ChannelName::Stable => &mut self.stable,
            ChannelName::Staging => &mut self.staging,
        }
    }

    /// Number of the generation of a channel that clients see; 0 before the first.
    #[must_use]
    pub fn published(&self, channel: ChannelName) -> u64 {
        match channel {
            ChannelName::Stable => self.generation,
            ChannelName::Staging => self.staging_generation,
        }
    }

    /// The kept generations of both channels.
    pub fn generations(&self) -> impl Iterator<Item = &Generation> {
        self.stable.generations.iter().chain(&self.staging.generations)
    }

    /// The channel that has the generation with this number, and its index there.
    #[must_use]
    pub fn find(&self, number: u64) -> Option<(ChannelName, usize)> {
        ChannelName::ALL.into_iter().find_map(|channel| {
            let at = self.history(channel).generations.iter().position(|g| g.number == number)?;
            Some((channel, at))
        })
    }

    /// The generations of a channel that are not pinned and not among the last `recent`, oldest first.
    pub(crate) fn beyond(&self, channel: ChannelName, recent: usize) -> impl Iterator<Item = &Generation> {
        let generations = &self.history(channel).generations;
        let old = generations.iter().take(generations.len().saturating_sub(recent));
        old.filter(|generation| !self.pins.contains_key(&generation.number))
    }

    pub(crate) fn next_generation(&self) -> u64 {
        let made = self.generations().map(|generation| generation.number);
        let seen = ChannelName::ALL.map(|channel| self.published(channel).max(self.history(channel).skipped));
        made.chain(seen).max().unwrap_or(0) + 1
    }

    /// Whether a channel follows the runs. A staging channel continues to do so for the machines that use it,
    /// even after the profile no longer publishes there.
    pub(crate) fn follows(&self, channel: ChannelName) -> bool {
        match channel {
            ChannelName::Stable => self.request.publish == channel && !self.stable.held,
            ChannelName::Staging => self.request.publish == channel || !self.staging.generations.is_empty(),
        }
    }

    /// Whether runs have led to other content than that of a channel's current generation.
    pub(crate) fn is_behind(&self, channel: ChannelName) -> bool {
        let revision = self.history(channel).current().map(|current| current.revision);
        self.channel.run.is_some() && revision != Some(self.channel.revision)
    }

    /// The generation of the staging channel that a promotion would publish. `None` if it would change
    /// nothing.
    #[must_use]
    pub fn waiting(&self) -> Option<&Generation> {
        let staged = self.staging.current().filter(|_| self.request.publish == ChannelName::Staging)?;
        self.stable.current().is_none_or(|current| current.revision != staged.revision).then_some(staged)
    }

    /// Adds a generation to a channel, with the content that the runs lead to or that of generation `like`.
    pub(crate) fn make(&mut self, channel: ChannelName, number: u64, at: TimeMs, like: Option<u64>) {
        let made = match like {
            Some(like) => self.again(number, at, like),
            None => self.newest(number, at),
        };
        if let Some((generation, artifacts)) = made {
            let history = self.history_mut(channel);
            history.artifacts.extend(artifacts.into_iter().map(|artifact| (artifact.digest, artifact)));
            history.generations.push(generation);
        }
    }

    /// A generation with the content that the runs lead to, and its artifacts.
    fn newest(&self, number: u64, at: TimeMs) -> Option<(Generation, Vec<Artifact>)> {
        let Channel { held, roots, revision, .. } = &self.channel;
        let generation = Generation {
            number,
            run: self.channel.run?,
            at,
            like: None,
            revision: *revision,
            artifacts: held.keys().copied().collect::<BTreeSet<_>>().into(),
            roots: roots.clone().into(),
        };
        Some((generation, held.values().map(|held| held.artifact.clone()).collect()))
    }

    /// A generation with the content of an earlier one, and its artifacts.
    fn again(&self, number: u64, at: TimeMs, earlier: u64) -> Option<(Generation, Vec<Artifact>)> {
        let (channel, place) = self.find(earlier)?;
        let History { generations, artifacts, .. } = self.history(channel);
        let earlier = generations.get(place)?;
        let like = earlier.like.or(Some(earlier.number));
        let artifacts = earlier.artifacts.iter().filter_map(|digest| artifacts.get(digest));
        Some((Generation { number, at, like, ..earlier.clone() }, artifacts.cloned().collect()))
    }

    /// Replaces the content that the runs lead to.
    pub(crate) fn move_to(&mut self, channel: Channel) {
        self.channel.move_to(channel);
        self.stable.note(&self.channel);
        self.staging.note(&self.channel);
    }

    pub(crate) fn forget(&mut self, number: u64) {
        ChannelName::ALL.into_iter().for_each(|channel| self.history_mut(channel).forget(number));
    }

    /// Records that clients have seen generations of a channel up to this number.
    pub(crate) fn record(&mut self, channel: ChannelName, generation: u64, packages: u64) {
        match channel {
            ChannelName::Stable => (self.generation, self.published_packages) = (generation, packages),
            ChannelName::Staging => self.staging_generation = generation,
        }
    }

    /// Records that clients may have seen generations of a channel up to this number, which the journal does
    /// not know.
    pub(crate) fn skip(&mut self, channel: ChannelName, last: u64) {
        self.history_mut(channel).skipped = last;
    }
}
