//! Package formats: readers for untrusted input, and the writer of the package index.
//!
//! Nothing here depends on the swarm: no policy, no file names, no clock. Every reader works in one
//! pass over any [`std::io::Read`], uses bounded memory whatever the input claims, and reports
//! invalid input as a typed error, never as a panic. Only [`snapshot`] and [`image`] access the
//! disk, because they represent directories.

mod beside;
mod bounded;
mod digesting;
pub mod digests;
pub mod gpkg;
pub mod image;
pub mod packages_index;
pub mod sha512;
pub mod snapshot;
pub mod tar_reader;
pub mod xpak;

/// Base-2 logarithm of the largest zstd window: the 8 MiB of RFC 8878, section 3.1.1.1.2, which all
/// levels except `--ultra` keep to. A decoder needs as much memory.
pub const WINDOW_LOG_MAX: u32 = 23;
