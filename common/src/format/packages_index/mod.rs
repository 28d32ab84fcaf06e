//! `Packages`, the index of a Gentoo binary package host: read, kept and written.
//!
//! The body is byte-identical to what Portage 3.0.83 writes for the same packages (but for
//! REPO_REVISIONS, which Portage itself drops at its next rewrite). There is no
//! specification; the source is Portage's `getbinpkg.PackageIndex` and `dbapi/bintree.py`:
//! blocks of `KEY: value` lines, keys in the order of their internal names, defaults left
//! out, packages ordered by plain comparison of `category/name-version`.
//!
//! The index is not signed. Whoever can change it can serve a signed package under another
//! name, which is why both ends of the swarm check what is inside the file.

mod entry;
mod index;
mod pages;

pub(crate) use entry::METADATA_KEYS;
pub use entry::{Entry, EntryError, PublishedFile};
pub use index::{IndexError, PackagesIndex};
