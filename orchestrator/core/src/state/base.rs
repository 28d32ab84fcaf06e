//! A base: the generations of a root file system that packages are built in.

use crate::reason::{self, Reason};
use serde::{Deserialize, Serialize};
use swarm_common::{
    digest::Digest,
    id::{AttemptId, RunId},
    name::Name,
    time::TimeMs,
    wire::base::{BaseGeneration, Dependency},
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedBase {
    /// The generations kept, the current one last. Never empty.
    #[serde(with = "crate::record")]
    pub generations: Vec<BaseGeneration>,
    /// The last generation number assigned.
    pub last_number: u64,
    /// Whether the base follows the ebuild tree.
    #[serde(default = "yes")]
    pub follow: bool,
    /// The profile that the base follows: the first that it followed, as long as that profile builds in this
    /// base, so that two profiles that build a package differently do not take turns.
    #[serde(default)]
    pub followed: Option<Name>,
    /// The next generation, if one is wanted or being made.
    #[serde(default)]
    pub following: Option<Following>,
    /// Why the last attempt to follow a run failed. `None` if it did not.
    #[serde(default)]
    pub failed: Option<FollowFailure>,
    /// Digest of content that the base must not get automatically, because it failed or an admin rolled it
    /// back.
    #[serde(default)]
    pub unwanted: Option<Digest>,
}

fn yes() -> bool {
    true
}

impl Default for NamedBase {
    fn default() -> Self {
        Self {
            generations: Vec::new(),
            last_number: 0,
            follow: yes(),
            followed: None,
            following: None,
            failed: None,
            unwanted: None,
        }
    }
}

impl NamedBase {
    /// The current generation. `None` only for a damaged journal.
    #[must_use]
    pub fn current(&self) -> Option<&BaseGeneration> {
        self.generations.last()
    }
}

/// A base generation that is wanted or being made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Following {
    /// The run whose packages are to be installed.
    pub run: RunId,
    /// Everything that is to be installed on the image.
    #[serde(with = "crate::record")]
    pub installed: Vec<Dependency>,
    pub since: TimeMs,
    pub not_before: TimeMs,
    /// The last attempt before this generation was wanted; only later ones count.
    pub after: AttemptId,
    /// Why the generation is to be tried again; `None` the first time.
    #[serde(with = "reason::optional")]
    pub reason: Option<Reason>,
}

/// A run that a base does not follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowFailure {
    pub run: RunId,
    pub reason: Reason,
}
