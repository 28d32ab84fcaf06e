//! SHA-512 (FIPS 180-4), the costliest digest of a package. `ring`, which TLS brings along,
//! computes it in assembly, in three quarters of the time that the crate `sha2` takes (on a
//! processor with AVX2). What the core needs too, SHA-256, stays with `sha2`: `ring` does
//! I/O for its random numbers.

use ring::digest::{Context, SHA512};
use std::fmt;

/// Collects bytes. A copy goes on from where it was copied.
#[derive(Clone)]
pub struct Sha512(Context);

impl Default for Sha512 {
    fn default() -> Self {
        Self(Context::new(&SHA512))
    }
}

impl Sha512 {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything taken.
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
