//! Why publishing failed.

use crate::store::{StoreError, disk::DiskError, entries::EntriesError};

/// Why nothing new was published. What was published before remains.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("invalid package path `{0}`")]
    Path(String),
    /// The index entry does not match its artifact.
    #[error("the index entry of `{0}` does not belong to its artifact")]
    Entry(String),
    /// The content of a published path would change, which would break clients that have just read
    /// the index.
    #[error("`{0}` is already published with other content: build IDs must not repeat")]
    Taken(String),
    #[error("cannot index a package: {0}")]
    Entries(#[from] EntriesError),
    /// A pointer cannot be written as JSON.
    #[error("`ready` of a host cannot be written: {0}")]
    Ready(#[from] serde_json::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Disk(#[from] DiskError),
}
