//! Reads archives that may be hostile: tar, limits on what a reader consumes, and digests on the way.
//!
//! Every reader works in one pass over any [`std::io::Read`]. All tar archives are interpreted by [`tar_reader`], so
//! that what the orchestrator has checked is what a drone unpacks; the `tar` crate only writes, and is compared with
//! in tests. Differences of snapshots are merged from raw entries, because every byte must stay as it is.

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
