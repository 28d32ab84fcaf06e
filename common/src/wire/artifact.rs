//! Stored package files.

use super::{drone::Target, nix::Nar};
use crate::{digest::Digest, id::*, time::TimeMs};
use serde::{Deserialize, Serialize};

/// A verified package file in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Artifact {
    /// What the file contains.
    pub target: Target,
    /// Digest of the file as it is stored and published (signed, where signing is on).
    pub digest: Digest,
    /// Digest of the file as the drone uploaded it.
    pub uploaded_digest: Digest,
    /// Size of the stored file in bytes.
    pub size: u64,
    /// The attempt that built it.
    pub attempt: AttemptId,
    /// The drone that built it.
    pub drone: DroneId,
    /// When it was received.
    pub received_at: TimeMs,
    /// Bytes that its entry takes in an index; 0 if an older version stored it.
    #[serde(default)]
    pub index_bytes: u64,
    /// Its archive, if it is a Nix store path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nar: Option<Box<Nar>>,
}

impl Artifact {
    /// The path in its published channel: `dev-libs/icu/icu-75.1-2.gpkg.tar`, or
    /// `nar/DIGEST.nar.zst` for a store path.
    #[must_use]
    pub fn path(&self) -> String {
        match &self.target {
            Target::Portage(target) => target.path(),
            Target::Nix(_) => format!("nar/{}.nar.zst", self.digest),
        }
    }
}
