//! SHA-256 in the form of a narinfo (`sha256:` and base 32), and in that of `flake.lock` (`sha256-` and base
//! 64).

use super::nix32;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use swarm_common::digest::Digest;

/// The error for text that is not a SHA-256 hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not `sha256:` with 52 digits of Nix's base 32, or 64 hexadecimal ones")]
pub struct ParseHashError;

/// Formats a digest as in a narinfo.
#[must_use]
pub fn to_text(digest: &Digest) -> String {
    format!("sha256:{}", nix32::encode(&digest.0))
}

/// Parses the form of a narinfo, with digits of base 32, or hexadecimal digits, which some caches write
/// instead.
///
/// # Errors
/// The text has neither form.
pub fn from_text(text: &str) -> Result<Digest, ParseHashError> {
    let digits = text.strip_prefix("sha256:").ok_or(ParseHashError)?;
    match nix32::decode(digits.as_bytes()) {
        Ok(bytes) => Ok(Digest(bytes)),
        Err(_) => digits.parse().map_err(|_| ParseHashError),
    }
}

/// The error for text that is not a SHA-256 hash in the form of a lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not `sha256-` with 44 digits of base 64")]
pub struct ParseSriError;

/// Formats a digest as in a lock file.
#[must_use]
pub fn to_sri(digest: &Digest) -> String {
    format!("sha256-{}", STANDARD.encode(digest.0))
}

/// Parses the form of a lock file.
///
/// # Errors
/// The text is not a SHA-256 hash in that form.
pub fn from_sri(text: &str) -> Result<Digest, ParseSriError> {
    let digits = text.strip_prefix("sha256-").filter(|digits| digits.len() == 44).ok_or(ParseSriError)?;
    let bytes = STANDARD.decode(digits).map_err(|_| ParseSriError)?;
    bytes.try_into().map(Digest).map_err(|_| ParseSriError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_of_a_lock_file_is_read_and_nothing_else() {
        let digest = Digest::of(b"swarm");
        let text = to_sri(&digest);
        assert_eq!(from_sri(&text), Ok(digest));
        for bad in [&text[7..], "sha256-", &text[..50], &format!("{text}="), &text.replace("256", "512")] {
            assert_eq!(from_sri(bad), Err(ParseSriError), "{bad}");
        }
    }

    #[test]
    fn both_forms_are_read_and_nothing_else() {
        let digest = Digest::of(b"swarm");
        assert_eq!(from_text(&to_text(&digest)), Ok(digest));
        assert_eq!(from_text(&format!("sha256:{digest}")), Ok(digest));
        let nix32 = nix32::encode(&digest.0);
        for bad in [&nix32, &format!("sha512:{nix32}"), "sha256:", &format!("sha256:{nix32}\n")] {
            assert_eq!(from_text(bad), Err(ParseHashError), "{bad}");
        }
    }
}
