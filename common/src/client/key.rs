//! Keys that make a repeated request harmless, and request ids.

use std::fmt;

/// The `Idempotency-Key` of one change. Make one for each thing that is to happen once,
/// and keep it while repeating the request: the orchestrator answers a repeat with what
/// it answered first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// A fresh random key.
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub fn random() -> Result<Self, super::ClientError> {
        random_id().map(Self)
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// 128 random bits in hexadecimal.
pub(super) fn random_id() -> Result<String, super::ClientError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|e| super::ClientError::Local(format!("the system gives no random numbers: {e}")))?;
    Ok(hex::encode(bytes))
}
