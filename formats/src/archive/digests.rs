//! Digests that are computed while bytes stream through, so that no file is read twice.
//!
//! A package index contains MD5 and SHA1 of a file, the store uses SHA-256, and a GPKG Manifest has SHA512
//! and BLAKE2B of every member. MD5 and SHA1 are computed only because clients of binary package hosts ask
//! for them. Nothing here relies on them.

use super::sha512::Sha512;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use std::io::{self, Read, Write};
use swarm_common::digest::Digest;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDigests {
    /// Size in bytes.
    pub size: u64,
    /// SHA-256, the address of the file in the store.
    pub sha256: Digest,
    /// MD5 as 32 lower-case hexadecimal digits, for the package index.
    pub md5: String,
    /// SHA1 as 40 lower-case hexadecimal digits, for the package index.
    pub sha1: String,
}

/// The digests of one GPKG member, as listed in its Manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberDigests {
    /// Size in bytes.
    pub size: u64,
    /// SHA512 as lower-case hexadecimal digits.
    pub sha512: String,
    /// BLAKE2B (512 bits) as lower-case hexadecimal digits.
    pub blake2b: String,
}

/// Hashes a whole file. A clone continues from the state in which it was cloned.
#[derive(Debug, Clone, Default)]
pub struct FileHasher {
    size: u64,
    sha256: Sha256,
    md5: Md5,
    sha1: Sha1,
}

impl FileHasher {
    pub fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.sha256.update(bytes);
        self.md5.update(bytes);
        self.sha1.update(bytes);
    }

    /// The SHA-256 state so far, to which more can be added.
    pub(super) fn sha256(&self) -> Sha256 {
        self.sha256.clone()
    }

    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The digests of everything hashed so far.
    #[must_use]
    pub fn finish(self) -> FileDigests {
        FileDigests {
            size: self.size,
            sha256: Digest(self.sha256.finalize().into()),
            md5: hex::encode(self.md5.finalize()),
            sha1: hex::encode(self.sha1.finalize()),
        }
    }

    /// Hashes everything in `reader`.
    ///
    /// # Errors
    /// Reading `reader` failed.
    pub fn read_all(mut reader: impl Read) -> io::Result<FileDigests> {
        let mut hasher = Self::default();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(n) => hasher.update(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Hashes one member.
#[derive(Default)]
pub struct MemberHasher {
    size: u64,
    sha512: Sha512,
    // The default parameters are those of BLAKE2b-512.
    blake2b: blake2b_simd::State,
}

impl MemberHasher {
    pub fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.sha512.update(bytes);
        self.blake2b.update(bytes);
    }

    /// The SHA512 state so far. An OpenPGP signature covers the bytes and a trailer, so its hash continues
    /// from here.
    #[must_use]
    pub fn sha512(&self) -> Sha512 {
        self.sha512.clone()
    }

    /// The digests of everything hashed.
    #[must_use]
    pub fn finish(self) -> MemberDigests {
        MemberDigests {
            size: self.size,
            sha512: hex::encode(self.sha512.finish()),
            blake2b: self.blake2b.finalize().to_hex().to_string(),
        }
    }
}

/// Reads from `inner` and hashes what is read as one member.
pub struct MemberReader<R> {
    inner: R,
    hasher: MemberHasher,
}

impl<R: Read> MemberReader<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, hasher: MemberHasher::default() }
    }

    /// Returns the hasher, which has hashed everything that was read.
    #[must_use]
    pub fn into_hasher(self) -> MemberHasher {
        self.hasher
    }
}

impl<R: Read> Read for MemberReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }
}

/// Writes to `inner` and hashes what is written as a whole file.
pub struct FileWriter<W> {
    inner: W,
    hasher: FileHasher,
}

impl<W: Write> FileWriter<W> {
    pub fn new(inner: W) -> Self {
        Self::resume(inner, FileHasher::default())
    }

    /// Continues a file. `hasher` must have hashed the bytes that `inner` already has.
    pub fn resume(inner: W, hasher: FileHasher) -> Self {
        Self { inner, hasher }
    }

    #[must_use]
    pub fn written(&self) -> u64 {
        self.hasher.size
    }

    /// Returns the inner writer and the digests of everything written.
    #[must_use]
    pub fn finish(self) -> (W, FileDigests) {
        (self.inner, self.hasher.finish())
    }
}

impl<W: Write> Write for FileWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digests_of_nothing_are_the_published_ones() {
        let file = FileHasher::read_all(io::empty()).unwrap();
        assert_eq!(file.sha256, Digest::of(b""));
        assert_eq!(file.md5, "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(file.sha1, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        let member = MemberHasher::default().finish();
        assert!(member.sha512.starts_with("cf83e1357eefb8bd"));
        assert!(member.blake2b.starts_with("786a02f742015903"));
    }

    #[test]
    fn reader_and_writer_hash_what_passes() {
        let mut out = FileWriter::new(Vec::new());
        let mut reader = MemberReader::new(b"swarm".as_slice());
        io::copy(&mut reader, &mut out).unwrap();
        let (bytes, digests) = out.finish();
        assert_eq!(bytes, b"swarm");
        assert_eq!(digests.sha256, Digest::of(b"swarm"));
        assert_eq!(reader.into_hasher().finish().size, 5);
    }
}
