//! A profile, as the core knows it, with what was built for it.

use crate::channel::Channel;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use swarm_common::{
    cpv::Cpv,
    digest::Digest,
    wire::{admin::ProfileRequest, artifact::Artifact},
};

/// A profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Its content.
    pub request: ProfileRequest,
    /// Number of the published generation; 0 before the first.
    pub generation: u64,
    /// Packages in it.
    pub published_packages: u64,
    /// The last build id handed out for each version. They only grow, so no published
    /// path is ever given other bytes.
    pub build_ids: BTreeMap<Cpv, u32>,
    /// What was built, by build key, for reuse.
    pub built: BTreeMap<Digest, Vec<Artifact>>,
    /// What workstations are to see. A snapshot from before there was this is replayed over:
    /// nothing would be wrong.
    pub channel: Channel,
}
