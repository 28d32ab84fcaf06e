//! Stored package files, as the orchestrator tells of them.

use super::drone::Target;
use crate::{digest::Digest, id::*, time::TimeMs};
use serde::{Deserialize, Serialize};

/// A verified package file in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Artifact {
    /// What it is, and the path it is published under ([`Target::path`]).
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
}
