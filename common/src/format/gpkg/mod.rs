//! GPKG, Gentoo's binary package container (GLEP 78), read and verified in one pass.
//!
//! Outside it is a tar of regular files in one directory: `gpkg-1`, `metadata.tar.*`,
//! `image.tar.*`, their `.sig` files and a `Manifest` with size, SHA512 and BLAKE2B of
//! every other member. [`read::verify`] demands all of that, and looks into both inner
//! archives within [`Limits`]. Signatures are not checked: what drones send is unsigned,
//! or signed by a key that means nothing here.
//!
//! Stricter than Portage where leniency helps nobody: Portage takes any tar trailer, whatever
//! Python's tarfile makes of a header, and metadata that its own resolver then stumbles over.

mod compression;
mod depend;
mod error;
mod image;
mod limits;
pub mod manifest;
mod metadata;
pub mod read;
mod stamp;
mod tree;
mod values;

pub use compression::inner;
pub use error::GpkgError;
pub use image::ImageSummary;
pub use limits::Limits;
pub use metadata::Metadata;
pub use read::{Body, Gpkg, is_signable, verify, verify_stamped};
pub use stamp::Stamp;
