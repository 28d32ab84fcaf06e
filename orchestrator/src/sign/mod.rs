//! The secret keys, and signing with them: OpenPGP for Portage, ed25519 for Nix.
//!
//! Drones have no keys: their packages are verified here and then signed. Workstations require these
//! signatures (`verify-signature = true`, Portage's default; `require-sigs` for Nix). Only [`key`] depends on
//! the `pgp` crate.

mod error;
mod file;
pub mod gpkg;
pub mod key;
pub mod nix;

pub use error::KeyError;
pub use gpkg::{SignError, Signed, seal, sign_gpkg};
pub use key::OpenPgpKey;
pub use nix::NixKeys;
