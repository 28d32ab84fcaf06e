//! Formats of Portage: packages in both containers, their index, and what their metadata says.

pub mod blocker;
pub mod gpkg;
pub mod packages_index;
pub mod settings;
pub mod sonames;
pub mod xpak;
