//! The version of a program.

use serde::{Deserialize, Serialize};

/// Response to `GET /version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The version, such as `0.1.0`.
    pub version: String,
    /// The first 12 digits of the commit that it was built from; `None` for a debug build, and for
    /// one without a git repository.
    pub commit: Option<String>,
}
