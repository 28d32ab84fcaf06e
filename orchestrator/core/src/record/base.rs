//! Bases: images, and what is installed on them.

use super::{enums, structs};
use swarm_common::{cpv::Cpv, digest::Digest, id::RunId, time::TimeMs, wire::base};

structs! {
    Image of base::Image {
        digest: Digest,
        size: u64,
        unpacked_bytes: u64,
        entries: u64,
        machine: String,
        has_portage: bool,
        #[serde(default)]
        usr: UsrMerge,
    }

    /// An artifact to install on an image.
    Dependency of base::Dependency {
        cpv: Cpv,
        slot: String,
        build_id: u32,
        digest: Digest,
        uploaded_digest: Digest,
        size: u64,
    }

    Generation of base::BaseGeneration {
        number: u64,
        image: Image,
        installed: Vec<Dependency>,
        source: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signed_by: Option<String>,
        made_at: TimeMs,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<RunId>,
    }
}

enums! {
    /// What the packages of a run are built in.
    #[derive(Default)]
    #[serde(tag = "kind", rename_all = "snake_case")]
    Base of base::Base {
        #[default]
        Host,
        Image { image: Image, installed: Vec<Dependency> },
        Nix,
    }

    /// Which directories are links below `/usr`. A value that this version does not know counts as none.
    #[derive(Clone, Copy, Default)]
    #[serde(rename_all = "snake_case")]
    UsrMerge of base::UsrMerge {
        Merged,
        MergedSbin,
        #[default]
        #[serde(other)]
        Split,
    }
}
