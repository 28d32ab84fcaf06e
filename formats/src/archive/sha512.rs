//! SHA-512 (FIPS 180-4), the most expensive digest of a package. `ring`, which TLS already depends on,
//! computes it in assembly and takes three quarters of the time of the crate `sha2` (on a processor with
//! AVX2). SHA-256 stays with `sha2`, because the core needs it too, and `ring` does I/O to get random
//! numbers.

use ring::digest::{Context, SHA512};
use std::fmt;

/// A SHA-512 state. A clone continues from the state in which it was cloned.
#[derive(Clone)]
pub struct Sha512(Context);

impl Default for Sha512 {
    fn default() -> Self {
        Self(Context::new(&SHA512))
    }
}

impl Sha512 {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything hashed.
    #[must_use]
    pub fn finish(self) -> [u8; 64] {
        let mut digest = [0; 64];
        digest.copy_from_slice(self.0.finish().as_ref());
        digest
    }
}

impl fmt::Debug for Sha512 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha512")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_goes_on_to_the_published_digest_of_abc() {
        let mut hash = Sha512::default();
        hash.update(b"a");
        let mut copy = hash.clone();
        copy.update(b"bc");
        assert!(hex::encode(copy.finish()).starts_with("ddaf35a193617abacc417349ae204131"));
        assert!(hex::encode(hash.finish()).starts_with("1f40fc92da241694750979ee6cf582f2"));
    }
}
