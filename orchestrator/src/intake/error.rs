//! Why files are not accepted.

use crate::{
    intake::upload::UploadError,
    rejection::Rejection,
    store::{StoreError, disk::DiskError},
};
use swarm_common::digest::Digest;

/// Why a file was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The file is at fault; retrying does not help. HTTP 422, and a reason for quarantine.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The disk is full; retrying helps once there is space. HTTP 507.
    #[error("{0}")]
    Full(DiskError),
    /// The orchestrator is at fault: its disk or key. HTTP 500.
    #[error("cannot store the package: {0}")]
    Failed(String),
}

impl From<DiskError> for AcceptError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Full { .. } => Self::Full(error),
            DiskError::Io { .. } => Self::Failed(error.to_string()),
        }
    }
}

impl From<StoreError> for AcceptError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Disk(error) => error.into(),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// Why a file of an attempt was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    #[error(transparent)]
    Accept(#[from] AcceptError),
    /// The file was not uploaded, or only in part.
    #[error("file {0} was not uploaded: upload it, then report again")]
    NotUploaded(Digest),
    /// The upload cannot be read or removed.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// Examining the file takes so much memory that only one such file is examined at a time.
    #[error("it is large")]
    Large,
    /// An upstream cache did not tell whether it has what an archive refers to.
    #[error("{0}")]
    Upstream(String),
    #[error("the task checking the package panicked: {0}")]
    Broken(#[from] tokio::task::JoinError),
}
