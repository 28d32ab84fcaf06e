//! Readers that tell apart why reading stopped: the source failed, it ended too early, or
//! more came out of a decompressor than is allowed.
//!
//! The causes travel as [`Fault`] inside [`io::Error`], because a decompressor passes
//! nothing else through; [`Fault::of`] gets them back. An error without a fault is the
//! decompressor's own word about its input.

use super::beside::{Beside, Hashed};
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

    /// The fault inside `error`, or the error itself.
    pub(crate) fn of(error: io::Error) -> Result<Self, io::Error> {
        if error.get_ref().is_some_and(|inner| inner.is::<Self>()) {
            error.downcast::<Self>()
        } else {
            Err(error)
        }
    }
}

/// The bytes of the file itself: counted, hashed, never more than allowed, and its
/// failures marked as the source's.
pub(crate) struct Source<R> {
    inner: R,
    hasher: Beside,
    seen: Rc<Cell<u64>>,
    limit: u64,
}

impl<R: Read> Source<R> {
    pub(crate) fn new(inner: R, limit: u64) -> Self {
        Self { inner, hasher: Beside::default(), seen: Rc::default(), limit }
    }

    /// How many bytes were read so far, readable while a decompressor has the source.
    pub(crate) fn counter(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.seen)
    }

    /// Remembers how far the digests are.
    pub(crate) fn mark(&mut self) {
        self.hasher.mark();
    }

    /// Takes the digests back to the last mark; what comes is left out of them.
    pub(crate) fn hold(&mut self) {
        self.hasher.hold();
    }

    /// Has the digests go on with `bytes` instead of what was left out.
    pub(crate) fn replace(&mut self, bytes: Vec<u8>) {
        self.hasher.replace(bytes);
    }

    /// The digests of everything, and their state at the last mark.
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

/// What comes out of a decompressor: never more than a fixed bound, nor more than a
/// multiple of what went in.
pub(crate) struct Inflated<R> {
    inner: R,
    produced: u64,
    consumed: Rc<Cell<u64>>,
    /// Bytes the source had given before this member began.
    start: u64,
    limit: u64,
    ratio: u64,
}

/// A small file may legitimately be far more compressible than `ratio` allows, and so
/// little output harms nobody.
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
