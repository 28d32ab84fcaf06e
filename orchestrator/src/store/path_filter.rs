//! Finds stored packages that may share a path with an arriving one, using only memory. With thousands of
//! stored packages, reading the list of each one for every arrival would take longer than checking the
//! arrival. Four bytes per path rule out nearly all packages; the lists of the rest are compared.

use super::files::{FileList, Hashes};
use std::collections::{HashMap, HashSet};
use swarm_common::digest::Digest;

/// Four bytes of each path's hash for every known package: of its files, and of the directories that contain
/// them.
#[derive(Debug, Default)]
pub(super) struct PathFilter {
    packages: HashMap<Digest, FilterEntry>,
    last: u64,
}

#[derive(Debug)]
struct FilterEntry {
    /// Increases with each noted package.
    number: u64,
    hashes: Hashes,
}

/// The packages that may share a path, as of one moment.
#[derive(Debug)]
pub struct Suspects {
    sharing: HashSet<Digest>,
    /// Number of the last package noted at that moment.
    last: u64,
}

impl PathFilter {
    /// Adds the paths of a package.
    pub(super) fn note(&mut self, digest: Digest, files: &FileList) {
        self.last += 1;
        self.packages.insert(digest, FilterEntry { number: self.last, hashes: files.hashes() });
    }

    pub(super) fn remove(&mut self, digest: Digest) {
        self.packages.remove(&digest);
    }

    /// The known packages that may share a path with any of these lists.
    pub(super) fn suspects(&self, arrived: &[FileList]) -> Suspects {
        let arrived: Vec<Hashes> = arrived.iter().map(FileList::hashes).collect();
        let shares = |hashes: &Hashes| arrived.iter().any(|own| own.share(hashes));
        let sharing = self.packages.iter().filter(|(_, sifted)| shares(&sifted.hashes));
        Suspects { sharing: sharing.map(|(&digest, _)| digest).collect(), last: self.last }
    }

    /// Whether a package is one of `suspects`, is unknown, or was unknown when `suspects` was determined.
    pub(super) fn is_suspect(&self, suspects: &Suspects, digest: Digest) -> bool {
        let sifted = self.packages.get(&digest);
        suspects.sharing.contains(&digest) || sifted.is_none_or(|sifted| sifted.number > suspects.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(paths: &[&str]) -> FileList {
        FileList::of(paths.iter().flat_map(|path| [path, "\0"]).collect::<String>().as_bytes())
    }

    #[test]
    fn only_what_shares_no_path_and_was_known_is_ruled_out() {
        let digest = |name: &str| Digest::of(name.as_bytes());
        let mut filter = PathFilter::default();
        filter.note(digest("shares"), &list(&["/usr/bin/a", "/usr/bin/b"]));
        filter.note(digest("shares nothing"), &list(&["/usr/bin/c"]));
        filter.note(digest("installs nothing"), &list(&[]));
        filter.note(digest("is removed"), &list(&["/usr/bin/d"]));
        filter.remove(digest("is removed"));
        let suspects = filter.suspects(&[list(&["/usr/bin/x"]), list(&["/usr/bin/b", "/usr/bin/y"])]);
        // This package arrives while the first arrival is still being compared.
        filter.note(digest("is noted later"), &list(&["/usr/bin/e"]));
        for (name, is_suspect) in [
            ("shares", true),
            ("shares nothing", false),
            ("installs nothing", false),
            ("is removed", true),
            ("is noted later", true),
            ("was never noted", true),
        ] {
            assert_eq!(filter.is_suspect(&suspects, digest(name)), is_suspect, "{name}");
        }
    }
}
