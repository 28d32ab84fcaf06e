//! What packages consist of: targets, and the files that were stored for them.

use super::{enums, structs};
use swarm_common::{
    cpv::Cpv,
    digest::Digest,
    id::{AttemptId, DroneId},
    time::TimeMs,
    wire::{self, drone, nix},
};

structs! {
    Artifact of wire::artifact::Artifact {
        target: Target,
        digest: Digest,
        uploaded_digest: Digest,
        size: u64,
        attempt: AttemptId,
        drone: DroneId,
        received_at: TimeMs,
        #[serde(default)]
        index_bytes: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nar: Option<Box<Nar>>,
    }

    /// A Portage package with its build id.
    PortageTarget of drone::PortageTarget {
        cpv: Cpv,
        slot: String,
        subslot: String,
        repository: String,
        use_flags: Vec<String>,
        iuse: Vec<String>,
        chost: String,
        build_id: u32,
    }

    /// An output of a derivation, or a source.
    NixTarget of nix::NixTarget {
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        drv: Option<String>,
        output: String,
        path: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content_hash: Option<ContentHash>,
    }

    /// The archive of a store path.
    Nar of nix::Nar {
        hash: Digest,
        size: u64,
        references: Vec<String>,
    }
}

enums! {
    /// A stored file's target. Untagged: the fields tell the variants apart.
    #[serde(untagged)]
    Target of drone::Target {
        Portage(target: PortageTarget),
        Nix(target: NixTarget),
    }

    /// How the store path of a fixed output is computed.
    ContentHash of nix::ContentHash {
        #[serde(rename = "sha256")]
        File,
        #[serde(rename = "r:sha256")]
        Nar,
        #[serde(rename = "other", other)]
        Other,
    }
}
