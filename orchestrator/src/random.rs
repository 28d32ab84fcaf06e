//! Random IDs, tokens and credentials from the operating system's generator.

use swarm_common::digest::Digest;

/// No random bytes are available.
#[derive(Debug, thiserror::Error)]
#[error("cannot get random numbers from the operating system: {0}")]
pub struct RandomError(#[from] getrandom::Error);

/// A secret of 256 random bits. The prefix tells people and secret scanners what it is for.
///
/// # Errors
/// The operating system provides no random bytes.
pub fn secret(prefix: &str) -> Result<String, RandomError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{prefix}{}", hex::encode(bytes)))
}

/// A secret derived from `parent` and `text` that reveals nothing about `parent`.
#[must_use]
pub fn derived(prefix: &str, parent: &str, text: &str) -> String {
    let fields =
        [b"build-swarm derived secret".as_slice(), parent.as_bytes(), prefix.as_bytes(), text.as_bytes()];
    format!("{prefix}{}", Digest::of_fields(fields))
}

/// An ID for a request without one. It need not be unpredictable: if no random bytes are available, the time
/// is used.
#[must_use]
pub fn id() -> String {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => hex::encode(bytes),
        Err(_) => format!("{:x}", std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_nanos())),
    }
}
