//! The stored form of an archive: the uploaded file, followed by a zstd frame that decoders skip (RFC 8878,
//! section 3.1.2) and that contains the name of the store path.
//!
//! Artifacts are identified by the digest of their file, and many outputs have equal contents, such as empty
//! ones. The name makes the files of two paths different.

use sha2::{Digest as _, Sha256};
use swarm_common::{digest::Digest, wire::nix::base_name};

/// Magic number of a skippable frame.
const SKIPPED: u32 = 0x184D_2A5E;

/// The bytes appended to the archive of a store path.
#[must_use]
pub fn tail(path: &str) -> Vec<u8> {
    let name = base_name(path).as_bytes();
    // Names have at most 244 bytes.
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    [&SKIPPED.to_le_bytes()[..], &length.to_le_bytes(), name].concat()
}

/// Digest of a file with this tail. `hash` is the state after hashing the file.
#[must_use]
pub fn digest_with(mut hash: Sha256, tail: &[u8]) -> Digest {
    hash.update(tail);
    Digest(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_paths_with_one_content_are_two_files_that_unpack_alike() {
        let packed = zstd::encode_all(&b"content"[..], 3).unwrap();
        let [a, b] = ["a", "b"].map(|digit| {
            let tail = tail(&format!("/nix/store/{}-x", digit.repeat(32)));
            let file = [&packed[..], &tail].concat();
            assert_eq!(zstd::decode_all(&file[..]).unwrap(), b"content");
            let found = digest_with(Sha256::new_with_prefix(&packed), &tail);
            assert_eq!(found, Digest::of(&file));
            found
        });
        assert_ne!(a, b);
    }
}
