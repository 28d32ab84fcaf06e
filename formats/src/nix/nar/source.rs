//! The input of a reader: buffered, hashed, counted, limited and scanned for references.

use super::{NarError, NarLimits, NarSum, NarSummary, PIECE, References, padding};
use sha2::{Digest as _, Sha256};
use std::io::{self, Read};
use swarm_common::digest::Digest;

pub(super) struct Source<R> {
    inner: R,
    piece: Box<[u8]>,
    start: usize,
    end: usize,
    /// Number of bytes read from `inner`.
    read: u64,
    limit: u64,
    hash: Sha256,
    references: References,
}

impl<R: Read> Source<R> {
    pub fn new(inner: R, limits: &NarLimits, references: References) -> Self {
        let piece = vec![0; PIECE].into_boxed_slice();
        let hash = Sha256::new();
        Self { inner, piece, start: 0, end: 0, read: 0, limit: limits.bytes, hash, references }
    }

    /// The current byte offset in the archive.
    pub fn at(&self) -> u64 {
        self.read - (self.end - self.start) as u64
    }

    pub fn malformed(&self, reason: &'static str) -> NarError {
        NarError::Malformed { at: self.at(), reason }
    }

    /// The next bytes. Empty only at the end.
    pub fn peek(&mut self) -> Result<&[u8], NarError> {
        if self.start == self.end {
            let n = loop {
                match self.inner.read(&mut self.piece) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other?,
                }
            };
            (self.start, self.end) = (0, n);
            self.read += n as u64;
            if self.read > self.limit {
                return Err(NarError::TooLarge { what: "its size in bytes", limit: self.limit });
            }
            self.hash.update(&self.piece[..n]);
            self.references.scan(&self.piece[..n]);
        }
        Ok(&self.piece[self.start..self.end])
    }

    /// Reads at least one byte. The end of the source is an error.
    pub fn read_some(&mut self, to: &mut [u8]) -> Result<usize, NarError> {
        let next = self.peek()?;
        if next.is_empty() {
            return Err(NarError::Truncated { at: self.at() });
        }
        let n = next.len().min(to.len());
        to[..n].copy_from_slice(&next[..n]);
        self.start += n;
        Ok(n)
    }

    pub fn skip(&mut self, mut bytes: u64) -> Result<(), NarError> {
        while bytes > 0 {
            let next = self.peek()?.len();
            if next == 0 {
                return Err(NarError::Truncated { at: self.at() });
            }
            let n = next.min(usize::try_from(bytes).unwrap_or(usize::MAX));
            self.start += n;
            bytes -= n as u64;
        }
        Ok(())
    }

    /// Reads the length of a string and checks it against the limit.
    pub fn length(&mut self) -> Result<u64, NarError> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        let length = u64::from_le_bytes(bytes);
        if length > self.limit.saturating_sub(self.at()) {
            return Err(NarError::TooLarge { what: "its size in bytes", limit: self.limit });
        }
        Ok(length)
    }

    /// Reads a string into memory. If it is longer than `most` bytes, that is an error with this `reason`.
    pub fn string(&mut self, most: usize, reason: &'static str) -> Result<Vec<u8>, NarError> {
        let length = self.length()?;
        let Some(length) = usize::try_from(length).ok().filter(|&length| length <= most) else {
            return Err(self.malformed(reason));
        };
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        self.padding(length as u64)?;
        Ok(bytes)
    }

    /// Reads the zeros that follow a string of `length` bytes.
    pub fn padding(&mut self, length: u64) -> Result<(), NarError> {
        let mut zeros = [0; 8];
        let zeros = &mut zeros[..padding(length)];
        self.fill(zeros)?;
        if zeros.iter().any(|&byte| byte != 0) {
            return Err(self.malformed("the padding is not zero"));
        }
        Ok(())
    }

    fn fill(&mut self, to: &mut [u8]) -> Result<(), NarError> {
        let mut filled = 0;
        while filled < to.len() {
            filled += self.read_some(&mut to[filled..])?;
        }
        Ok(())
    }

    pub fn finish(self) -> NarSummary {
        let sum = NarSum { hash: Digest(self.hash.finalize().into()), size: self.read };
        NarSummary { sum, references: self.references.found() }
    }
}
