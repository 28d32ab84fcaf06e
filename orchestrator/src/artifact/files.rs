//! The list of paths that a package installs, stored beside it to find other packages that install
//! the same paths.
//!
//! It follows Portage's default `protect-owned`: a file of another installed package is never
//! overwritten, whatever its content. Paths that Portage does not protect are left out: those below
//! CONFIG_PROTECT, which are merged under another name, and those in COLLISION_IGNORE. Paths are
//! compared literally.
//!
//! A stored list starts with the sorted hashes of its paths, by which lists are compared.

use std::collections::{BTreeMap, BTreeSet};
use swarm_common::digest::Digest;

const HASH: usize = size_of::<u64>();

/// The paths of a package that no other package may install.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileList(BTreeMap<u64, Vec<u8>>);

fn hash(path: &[u8]) -> u64 {
    Digest::of(path).0.iter().take(HASH).fold(0, |hash, &byte| hash << 8 | u64::from(byte))
}

/// Whether Portage would refuse to overwrite this path.
fn is_guarded(path: &[u8]) -> bool {
    let protected = path.starts_with(b"/etc/") && !path.starts_with(b"/etc/env.d/");
    let ignored = path.starts_with(b"/lib/modules/")
        || [&b".pyc"[..], b".pyo", b"$py.class"].iter().any(|end| path.ends_with(end));
    !path.is_empty() && !protected && !ignored
}

impl FileList {
    /// Creates a list from paths that each end with a NUL byte.
    #[must_use]
    pub fn of(paths: &[u8]) -> Self {
        let paths = paths.split(|&b| b == 0).filter(|path| is_guarded(path));
        Self(paths.map(|path| (hash(path), path.to_vec())).collect())
    }

    /// The first four bytes of each path's hash, sorted.
    #[must_use]
    pub fn short_hashes(&self) -> Box<[u32]> {
        self.0.keys().map(|hash| (hash >> 32) as u32).collect()
    }

    /// The paths that are in both lists, sorted.
    #[must_use]
    pub fn shared_with(&self, other: &Self) -> BTreeSet<&[u8]> {
        let both = self.0.iter().filter(|(hash, path)| other.0.get(hash) == Some(path));
        both.map(|(_, path)| path.as_slice()).collect()
    }

    /// Serializes the list: number of paths, their hashes, then the paths in the same order.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = (self.0.len() as u64).to_le_bytes().to_vec();
        bytes.extend(self.0.keys().flat_map(|hash| hash.to_le_bytes()));
        for path in self.0.values() {
            bytes.extend(path);
            bytes.push(0);
        }
        bytes
    }

    /// Parses the output of [`FileList::to_bytes`]; `None` for anything else.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (count, rest) = bytes.split_at_checked(HASH)?;
        let count = usize::try_from(u64::from_le_bytes(count.try_into().ok()?)).ok()?;
        let list = Self::of(rest.get(count.checked_mul(HASH)?..)?);
        (list.to_bytes() == bytes).then_some(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(paths: &[&str]) -> FileList {
        FileList::of(paths.iter().flat_map(|path| [path, "\0"]).collect::<String>().as_bytes())
    }

    #[test]
    fn a_kept_list_is_read_as_it_was_written_and_a_damaged_one_is_none() {
        let files = list(&["/usr/bin/a", "/usr/bin/b", "/usr/share/\u{e4}\n"]);
        let bytes = files.to_bytes();
        assert_eq!(FileList::parse(&bytes), Some(files.clone()));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_ne!(FileList::parse(&damaged), Some(files.clone()));
            assert_ne!(FileList::parse(&bytes[..at]), Some(files.clone()));
        }
    }

    #[test]
    fn what_portage_lets_packages_share_is_not_shared() {
        let one = list(&[
            "/usr/bin/tool",
            "/etc/tool.conf",
            "/etc/env.d/50tool",
            "/lib/modules/6.1/modules.dep",
            "/usr/lib/python3.13/x.pyc",
            "/usr/lib/python3.13/x.py",
            "/usr/share/a",
        ]);
        let other = list(&[
            "/usr/bin/tool",
            "/etc/tool.conf",
            "/etc/env.d/50tool",
            "/lib/modules/6.1/modules.dep",
            "/usr/lib/python3.13/x.pyc",
            "/usr/lib/python3.13/x.py",
            "/usr/share/b",
        ]);
        let shared: Vec<&[u8]> = one.shared_with(&other).into_iter().collect();
        assert_eq!(shared, [&b"/etc/env.d/50tool"[..], b"/usr/bin/tool", b"/usr/lib/python3.13/x.py"]);
    }
}
