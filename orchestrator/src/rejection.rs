//! Why an uploaded file is rejected, for all formats.

use std::io;

/// Why a file is rejected. `kind` is a stable identifier for quarantine reasons and HTTP problems;
/// `message` is one line for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// For example `wrong-digest`, `wrong-slot` or `bad-manifest`.
    pub kind: &'static str,
    /// What is wrong and what was expected.
    pub message: String,
}

/// Why the examination of a file failed.
#[derive(Debug, thiserror::Error)]
pub enum ExamineError {
    /// The file is at fault.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The orchestrator's disk is at fault; nothing is known about the file.
    #[error("cannot read the uploaded package: {0}")]
    Unreadable(#[source] io::Error),
}
