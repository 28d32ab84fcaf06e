//! Package files, from the first uploaded byte to the content-addressed store.
//!
//! [`upload`] collects a file's bytes, [`intake`] checks that it is the requested package, and
//! [`store`] keeps it. None of them depends on the engine or signs anything; the caller passes
//! plain values and appends the event after the file is safely stored.

pub mod accept;
pub mod alongside;
pub mod disk;
pub mod entries;
pub mod files;
pub mod intake;
pub mod sieve;
pub mod store;
pub mod upload;
mod writeback;
