//! Writing the binary package hosts that drones and workstations install from.
//!
//! A [`Binhost`] is one directory: an index and hard links into the store, so several of
//! them (one per run, and `stable` of each profile) share the bytes. Nothing here decides
//! what belongs into a channel, signs anything or speaks HTTP; [`conditional`] and
//! [`layout`] hold the pure rules that the HTTP side needs, [`small`] keeps what is asked
//! for often, [`whole`] sees whether an index is as it was written.

mod beneath;
mod binhost;
pub mod conditional;
mod generations;
pub mod layout;
pub(crate) mod small;
pub(crate) mod whole;

pub use binhost::{Binhost, Outcome, PublishError, Published};
pub use generations::Generations;
