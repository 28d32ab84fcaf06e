//! The inputs that the keys of a package were computed from.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::digest::Digest;

/// Values by the name of the input.
pub type Fields = BTreeMap<String, String>;

/// The inputs of a key, kept to explain changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    /// Digest of the plan's settings, under which the swarm stores them.
    pub settings: Digest,
    /// The fields of each target, in the order of the targets.
    pub targets: Vec<Fields>,
    /// The slots that the package is bound to by `:=`, as `category/name:slot/subslot`.
    pub bound: BTreeSet<String>,
}

impl Inputs {
    /// The name of the input with the commit of a live package's upstream, and its value if that is unknown.
    pub(crate) const COMMIT: (&str, &str) = ("commit", "unknown");

    /// Whether the package is a live package whose upstream could not be queried.
    #[must_use]
    pub fn lacks_commit(&self) -> bool {
        self.targets
            .iter()
            .any(|fields| fields.get(Self::COMMIT.0).is_some_and(|commit| commit == Self::COMMIT.1))
    }
}
