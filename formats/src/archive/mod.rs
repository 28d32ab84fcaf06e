//! Reads archives that may be hostile: tar, limits on what a reader consumes, and digests on the way.
//!
//! Every reader works in one pass over any [`std::io::Read`].

pub(crate) mod background_hasher;
pub(crate) mod bounded;
pub(crate) mod digesting;
pub mod digests;
pub mod sha512;
pub mod tar_reader;

pub use digesting::DigestWriter;

/// Base-2 logarithm of the largest zstd window: the 8 MiB of RFC 8878, section 3.1.1.1.2, which all levels
/// except `--ultra` observe. A decoder needs as much memory.
pub const WINDOW_LOG_MAX: u32 = 23;
