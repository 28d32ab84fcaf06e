//! Writes the binary package hosts from which drones and workstations install.
//!
//! A [`Binhost`] is one directory with an index and hard links into the store, so several of them
//! (one per run, and `stable` of each profile) share the files; a [`NixCache`] is the same for Nix.
//! [`Binhosts`] knows their places, and [`Progress`] what is published. Nothing here decides what
//! belongs to a channel, signs anything or speaks HTTP. [`conditional`] and [`layout`] have the rules for
//! serving over HTTP, [`small`] caches small files, and [`whole`] checks an index for damage.

mod beneath;
mod binhost;
mod binhosts;
pub mod cache;
pub mod conditional;
pub(crate) mod copies;
pub(crate) mod generations;
pub mod layout;
mod progress;
pub(crate) mod small;
pub(crate) mod whole;

pub use binhost::{Binhost, Outcome, PublishError, Published};
pub use binhosts::Binhosts;
pub use cache::NixCache;
pub use generations::Generations;
pub use progress::Progress;
