//! Idempotency keys and request ids.

use std::fmt;

/// The `Idempotency-Key` header of one change. Create one for each change and keep it while retrying: the
/// orchestrator answers a repeated request with its first response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Creates a random key.
    ///
    /// # Errors
    /// The operating system provides no randomness.
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
    getrandom::fill(&mut bytes).map_err(|e| {
        super::ClientError::Local(format!(
            "cannot get random numbers from the operating \
             system: {e}"
        ))
    })?;
    Ok(hex::encode(bytes))
}
