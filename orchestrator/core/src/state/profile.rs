//! The state of a profile.

use super::channel::{Channel, Stable};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use swarm_common::{cpv::Cpv, wire::admin::ProfileRequest};

/// A profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Its content, as set by an admin.
    pub request: ProfileRequest,
    /// Number of the published generation; 0 before the first.
    pub generation: u64,
    /// Number of packages in that generation.
    pub published_packages: u64,
    /// The last build id assigned or taken over for each version. A new build id is above those of
    /// all profiles, so that a published path never gets other content.
    pub build_ids: BTreeMap<Cpv, u32>,
    /// What its runs lead to. Not optional: a journal snapshot without this field is not used, and
    /// the events are replayed instead.
    pub channel: Channel,
    /// The generations of its stable channel.
    #[serde(default)]
    pub stable: Stable,
}

impl Profile {
    /// The number of the next generation.
    pub(crate) fn next_generation(&self) -> u64 {
        let last = self.stable.current().map_or(0, |current| current.number);
        last.max(self.generation).max(self.stable.skipped) + 1
    }

    /// Whether runs have led to another content than that of the current generation.
    pub(crate) fn is_staged(&self) -> bool {
        let revision = self.stable.current().map(|current| current.revision);
        self.channel.run.is_some() && revision != Some(self.channel.revision)
    }
}
