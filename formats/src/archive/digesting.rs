//! Computes the digest of an archive's content while the archive is written or read.

use sha2::Digest as _;
use std::io::{self, Read, Write};
use swarm_common::digest::Digest;

/// Forwards bytes, hashing and counting them.
#[derive(Debug)]
pub struct DigestWriter<W> {
    out: W,
    hash: sha2::Sha256,
    bytes: u64,
}

impl<W: Write> DigestWriter<W> {
    pub fn new(out: W) -> Self {
        Self { out, hash: sha2::Sha256::new(), bytes: 0 }
    }

    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the inner writer and the digest of everything written.
    #[must_use]
    pub fn finish(self) -> (W, Digest) {
        (self.out, Digest(self.hash.finalize().into()))
    }
}

impl<W: Write> Write for DigestWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Forwards at most `limit` bytes, hashing and counting them. The limit stops an endless archive.
pub(crate) struct DigestReader<R> {
    from: R,
    limit: u64,
    hash: sha2::Sha256,
    bytes: u64,
}

impl<R: Read> DigestReader<R> {
    pub fn new(from: R, limit: u64) -> Self {
        Self { from, limit, hash: sha2::Sha256::new(), bytes: 0 }
    }

    /// Returns the number of bytes and their digest.
    pub fn finish(self) -> (u64, Digest) {
        (self.bytes, Digest(self.hash.finalize().into()))
    }
}

impl<R: Read> Read for DigestReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.bytes += n as u64;
        if self.bytes > self.limit {
            let text = format!("more than {} bytes unpacked", self.limit);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        self.hash.update(&buffer[..n]);
        Ok(n)
    }
}
