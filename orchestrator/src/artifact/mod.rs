//! Package files, from the first uploaded byte to the content-addressed store.
//!
//! The way of a file: [`upload`] collects its bytes, [`intake`] decides whether it is what
//! was asked for, [`store`] keeps it. None of them knows the engine or signs anything; the
//! caller passes plain values and appends the event after the file is safely stored.

pub mod accept;
pub mod alongside;
pub mod disk;
pub mod entries;
pub mod files;
pub mod intake;
pub mod store;
pub mod upload;
mod writeback;
