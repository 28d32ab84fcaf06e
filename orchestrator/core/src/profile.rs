//! A profile, as the core knows it.

use crate::channel::Channel;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use swarm_common::{cpv::Cpv, wire::admin::ProfileRequest};

/// A profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Its content.
    pub request: ProfileRequest,
    /// Number of the published generation; 0 before the first.
    pub generation: u64,
    /// Packages in it.
    pub published_packages: u64,
    /// The last build id that was handed out or taken over for each version. A new one is
    /// above those of all profiles, so no published path is ever given other bytes.
    pub build_ids: BTreeMap<Cpv, u32>,
    /// What workstations are to see. A snapshot from before there was this is replayed over:
    /// nothing would be wrong.
    pub channel: Channel,
}
