//! Random texts: ids, tokens, credentials. All come from the operating system.

use swarm_common::digest::Digest;

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no random numbers: {0}")]
pub struct RandomError(#[from] getrandom::Error);

/// A secret of 256 random bits, with a prefix that tells people and scanners what it is.
///
/// # Errors
/// The operating system gives no randomness.
pub fn secret(prefix: &str) -> Result<String, RandomError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{prefix}{}", hex::encode(bytes)))
}

/// A secret that follows from another one and a text, and tells nothing about it.
#[must_use]
pub fn derived(prefix: &str, parent: &str, text: &str) -> String {
    let fields =
        [b"build-swarm derived secret".as_slice(), parent.as_bytes(), prefix.as_bytes(), text.as_bytes()];
    format!("{prefix}{}", Digest::of_fields(fields))
}

/// An id for a request that has none. It need not be unguessable; where there is no
/// randomness the time has to do.
#[must_use]
pub fn id() -> String {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => hex::encode(bytes),
        Err(_) => format!("{:x}", std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_nanos())),
    }
}
