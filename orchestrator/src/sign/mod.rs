//! The OpenPGP key, and packages signed with it.
//!
//! Drones hold no key: what they send is checked, then signed here. Workstations demand
//! these signatures (`verify-signature = true`, Portage's default). The `pgp` crate is
//! known to [`key`] only.

pub mod gpkg;
pub mod key;

pub use gpkg::{SignError, Signed, seal, sign_gpkg};
pub use key::{KeyError, OpenPgpKey};
