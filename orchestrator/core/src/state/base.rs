//! A base: the generations of a root file system that packages are built in.

use serde::{Deserialize, Serialize};
use swarm_common::{
    digest::Digest,
    id::{AttemptId, RunId},
    name::Name,
    time::TimeMs,
    wire::base::{BaseFailure, BaseGeneration, Dependency},
};

/// A named base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedBase {
    /// The generations kept, the current one last. Never empty.
    #[serde(with = "crate::record")]
    pub generations: Vec<BaseGeneration>,
    /// The last generation number assigned.
    pub last_number: u64,
    /// Whether it follows the tree.
    #[serde(default = "yes")]
    pub follow: bool,
    /// The profile that it follows: the first that did, as long as that profile builds in this
    /// base, so that two profiles which build a package differently do not take turns.
    #[serde(default)]
    pub followed: Option<Name>,
    /// The next generation, if one is wanted or being made.
    #[serde(default)]
    pub following: Option<Following>,
    /// Why it does not follow a run, if that was tried.
    #[serde(default, with = "crate::record")]
    pub failed: Option<BaseFailure>,
    /// Digest of the content that it must not get automatically: it failed, or an admin rolled it
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
    /// The current generation.
    #[must_use]
    pub fn current(&self) -> Option<&BaseGeneration> {
        self.generations.last()
    }
}

/// A base generation that is wanted or being made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Following {
    /// The run whose packages are installed.
    pub run: RunId,
    /// Everything that is then installed on the image.
    #[serde(with = "crate::record")]
    pub installed: Vec<Dependency>,
    /// Since when it has been wanted.
    pub since: TimeMs,
    /// Earliest time of the next attempt.
    pub not_before: TimeMs,
    /// The last attempt before this was wanted; only later ones count.
    pub after: AttemptId,
    /// Why it is to be tried again; empty the first time.
    pub reason: String,
}
