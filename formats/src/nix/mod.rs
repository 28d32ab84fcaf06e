//! Nix's formats, byte for byte as Nix writes them.
//!
//! | format | module |
//! |---|---|
//! | base 32 and hashes in text | [`nix32`], [`hash`] |
//! | `/nix/store/HASH-NAME` and how it is computed | [`store_path`] |
//! | `.drv` files and the paths of their outputs | [`derivation`] |
//! | the derivations of a plan in one archive | [`derivations`] |
//! | the protocol of `nix-store --serve` | [`serve`] |
//! | `.nar` archives, their hash, size and references | [`nar`] |
//! | `.narinfo` files and what their signatures cover | [`narinfo`] |
//! | signing keys | [`keys`] |

pub mod derivation;
pub mod derivations;
pub mod hash;
pub mod keys;
pub mod nar;
pub mod narinfo;
pub mod nix32;
pub mod serve;
pub mod store_path;
