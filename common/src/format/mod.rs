//! Package formats: readers that take hostile bytes, and the writer of the package index.
//!
//! Nothing here knows the swarm: no policy, no files by name, no clock. Every reader works
//! in one pass over any [`std::io::Read`], holds a bounded amount of memory whatever the
//! input claims, and answers bad input with a typed error and never with a panic. Only
//! [`snapshot`] and [`image`] touch the disk, because these are directories.

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
