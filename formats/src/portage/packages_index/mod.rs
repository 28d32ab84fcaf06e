//! Reads and writes `Packages`, the index of a Gentoo binary package host.
//!
//! For the same packages, the body is byte-identical to that of Portage 3.0.83 (except REPO_REVISIONS, which
//! Portage itself drops at its next rewrite). There is no specification. The source is Portage's
//! `getbinpkg.PackageIndex` and `dbapi/bintree.py`: blocks of `KEY: value` lines, keys in the order of their
//! internal names, defaults omitted, packages ordered by plain comparison of `category/name-version`.
//!
//! The index is not signed. Anyone who can change it can serve a signed package under another name,
//! so both ends of the swarm check the content of the file.

mod entry;
mod index;
mod pages;

pub use entry::{Entry, EntryError, PublishedFile};
pub use index::{IndexError, PackagesIndex};
