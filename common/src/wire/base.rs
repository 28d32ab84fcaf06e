//! What packages are built in, and what is installed there beside it.

use crate::{cpv::Cpv, digest::Digest};
use serde::{Deserialize, Serialize};

/// A root file system to build in: compiler, `@system` and Portage. Every attempt of a
/// run has the same one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Base {
    /// The drone's own `/`.
    #[default]
    Host,
    /// An image that the orchestrator keeps, and packages that are installed on it.
    Image {
        /// The image's digest.
        image: Digest,
        /// What is installed on the image, in this order.
        installed: Vec<Dependency>,
    },
}

/// An artifact that is installed where something is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Dependency {
    /// What it is.
    pub cpv: Cpv,
    /// Its slot without the sub-slot.
    pub slot: String,
    /// Its build id.
    pub build_id: u32,
    /// Digest of the stored file: `GET /artifacts/{digest}`.
    pub digest: Digest,
    /// Digest of the file as it was uploaded, by which the drone that built it knows it.
    pub uploaded_digest: Digest,
    /// Size of the stored file in bytes.
    pub size: u64,
}
