//! GPKG, Gentoo's binary package container (GLEP 78), read and verified in one pass.
//!
//! The container is a tar of regular files in one directory: `gpkg-1`, `metadata.tar.*`,
//! `image.tar.*`, their `.sig` files, and a `Manifest` with size, SHA512 and BLAKE2B of every other
//! member. [`read::verify`] requires all of that and checks both inner archives within [`Limits`].
//! Signatures are not verified: packages from drones are unsigned, or signed with a key that is not
//! trusted here.
//!
//! This is stricter than Portage, which accepts any tar trailer, any header that Python's tarfile
//! accepts, and metadata on which its own resolver then fails.

mod compression;
mod depend;
mod error;
mod image;
mod limits;
pub mod manifest;
mod metadata;
mod metadata_archive;
pub mod read;
mod renumber;
mod stamp;
mod tree;
mod values;

pub use compression::inner;
pub use error::GpkgError;
pub use image::ImageSummary;
pub use limits::Limits;
pub use metadata::Metadata;
pub use metadata_archive::read as read_metadata;
pub use read::{Body, Gpkg, is_signable, verify, verify_stamped};
pub use stamp::Stamp;
pub(crate) use values::INDEXED;
