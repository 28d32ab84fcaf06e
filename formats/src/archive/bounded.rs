//! Readers that distinguish why reading stopped: the source failed, the data ended too early, or a
//! decompressor produced more than allowed.
//!
//! The cause is wrapped as a [`Fault`] in an [`io::Error`], the only thing that passes through a
//! decompressor. [`Fault::of`] unwraps it. An error without a fault comes from the decompressor itself.

use super::background_hasher::{BackgroundHasher, Hashed};
use std::{
    cell::Cell,
    io::{self, Read},
    rc::Rc,
};

/// Why reading stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{0}")]
    Source(io::Error),
    #[error("the data ends too early")]
    Truncated,
    #[error("{what} exceeds {limit}")]
    TooLarge { what: &'static str, limit: u64 },
}

impl Fault {
    pub(crate) fn into_io(self) -> io::Error {
        io::Error::other(self)
    }

    /// Returns the fault inside `error`, or the error itself if there is none.
    pub(crate) fn of(error: io::Error) -> Result<Self, io::Error> {
        if error.get_ref().is_some_and(|inner| inner.is::<Self>()) {
            error.downcast::<Self>()
        } else {
            Err(error)
        }
    }
}

/// The raw file: counts, hashes and limits its bytes, and marks its errors as [`Fault::Source`].
pub(crate) struct Source<R> {
    inner: R,
    hasher: BackgroundHasher,
    seen: Rc<Cell<u64>>,
    limit: u64,
}

impl<R: Read> Source<R> {
    pub(crate) fn new(inner: R, limit: u64) -> Self {
        Self { inner, hasher: BackgroundHasher::default(), seen: Rc::default(), limit }
    }

    /// The number of bytes read so far, accessible while a decompressor owns the source.
    pub(crate) fn counter(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.seen)
    }

    pub(crate) fn mark(&mut self) {
        self.hasher.mark();
    }

    /// Returns the digests to the last mark. They skip the data from here on.
    pub(crate) fn hold(&mut self) {
        self.hasher.hold();
    }

    /// Continues the digests with `bytes` in place of the skipped data.
    pub(crate) fn replace(&mut self, bytes: Vec<u8>) {
        self.hasher.replace(bytes);
    }

    /// The digests of the whole file, and their state at the last mark.
    pub(crate) fn finish(self) -> io::Result<Hashed> {
        self.hasher.finish()
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = loop {
            match self.inner.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(|error| Fault::Source(error).into_io())?,
            }
        };
        self.hasher.update(&buffer[..n]);
        self.seen.set(self.seen.get() + n as u64);
        if self.seen.get() > self.limit {
            let what = "its size in bytes";
            return Err(Fault::TooLarge { what, limit: self.limit }.into_io());
        }
        Ok(n)
    }
}

/// The output of a decompressor, limited to a fixed size and to a multiple of its input.
pub(crate) struct Inflated<R> {
    inner: R,
    produced: u64,
    consumed: Rc<Cell<u64>>,
    /// Number of bytes read from the source before this member.
    start: u64,
    limit: u64,
    ratio: u64,
}

/// The ratio is not enforced below this output size in bytes: small files can legitimately compress better,
/// and so little output is harmless.
const FREE_BYTES: u64 = 1 << 20;

impl<R: Read> Inflated<R> {
    pub(crate) fn new(inner: R, consumed: Rc<Cell<u64>>, limit: u64, ratio: u64) -> Self {
        let start = consumed.get();
        Self { inner, produced: 0, consumed, start, limit, ratio }
    }
}

impl<R: Read> Read for Inflated<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.produced += n as u64;
        let consumed = self.consumed.get().saturating_sub(self.start);
        let by_ratio = consumed.saturating_mul(self.ratio).saturating_add(FREE_BYTES);
        let fault = if self.produced > self.limit {
            Fault::TooLarge { what: "its decompressed size in bytes", limit: self.limit }
        } else if self.produced > by_ratio {
            Fault::TooLarge { what: "its compression ratio", limit: self.ratio }
        } else {
            return Ok(n);
        };
        Err(fault.into_io())
    }
}
