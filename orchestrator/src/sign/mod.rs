//! The secret keys, and signing of packages: with OpenPGP for Portage, with ed25519 for Nix.
//!
//! Drones have no key: their packages are verified and then signed here. Workstations require these
//! signatures (`verify-signature = true`, Portage's default; `require-sigs`, Nix's). Only [`key`]
//! depends on the `pgp` crate.

mod error;
mod file;
pub mod gpkg;
pub mod key;
pub mod nix;

pub use error::KeyError;
pub use gpkg::{SignError, Signed, seal, sign_gpkg};
pub use key::OpenPgpKey;
pub use nix::NixKeys;
