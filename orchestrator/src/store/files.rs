//! The list of paths that a package installs, stored beside it to find other packages that install
//! the same paths.
//!
//! It follows Portage's default `protect-owned`: a file of another installed package is never overwritten,
//! whatever its content, and neither is a directory that contains such files. Paths that Portage does not
//! protect are left out: those below CONFIG_PROTECT, which are merged under another name, and those in
//! COLLISION_IGNORE. Paths are stored literally. Where `/usr` is merged, the comparison resolves them.
//!
//! A stored list starts with the sorted hashes of its paths, which reveal damage. The path of a symbolic link
//! ends with `/`.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};
use swarm_common::{digest::Digest, wire::base::UsrMerge};

const HASH: usize = size_of::<u64>();

/// The paths of a package that no other package may install.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileList(BTreeMap<u64, Vec<u8>>);

fn hash(path: &[u8]) -> u64 {
    Digest::of(path).0.iter().take(HASH).fold(0, |hash, &byte| hash << 8 | u64::from(byte))
}

/// Whether Portage would refuse to overwrite this path.
fn is_guarded(path: &[u8]) -> bool {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let protected = path.starts_with(b"/etc/") && !path.starts_with(b"/etc/env.d/");
    let ignored = path.starts_with(b"/lib/modules/")
        || [&b".pyc"[..], b".pyo", b"$py.class"].iter().any(|end| path.ends_with(end));
    !path.is_empty() && !protected && !ignored
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Link,
}

/// The path that a path resolves to in a root where `/usr` is merged in this way.
fn resolve(path: &[u8], usr: UsrMerge) -> Cow<'_, [u8]> {
    if usr.is_split() {
        return Cow::Borrowed(path);
    }
    let top = path.split(|&b| b == b'/').nth(1).unwrap_or_default();
    let is_merged = matches!(top, b"bin" | b"sbin" | b"lib" | b"lib32" | b"lib64" | b"libx32");
    let path = if is_merged { [b"/usr", path].concat().into() } else { Cow::Borrowed(path) };
    match path.strip_prefix(b"/usr/sbin/").filter(|_| usr == UsrMerge::MergedSbin) {
        Some(name) => [b"/usr/bin/", name].concat().into(),
        None => path,
    }
}

/// The directories that contain sorted files. A directory of several neighbours is returned once.
fn directories<'p>(files: &'p BTreeMap<Cow<'_, [u8]>, Kind>) -> impl Iterator<Item = &'p [u8]> {
    let mut last: &[u8] = b"";
    let parents = |path: &'p [u8]| {
        let cuts = path.iter().enumerate().skip(1).filter(|(_, b)| **b == b'/');
        cuts.map(|(cut, _)| &path[..cut])
    };
    files.keys().flat_map(move |path| {
        let before = std::mem::replace(&mut last, &**path);
        parents(path).filter(move |dir| before.strip_prefix(*dir).is_none_or(|rest| !rest.starts_with(b"/")))
    })
}

impl FileList {
    /// Creates a list from paths that each end with a NUL byte.
    #[must_use]
    pub fn of(paths: &[u8]) -> Self {
        let paths = paths.split(|&b| b == 0).filter(|path| is_guarded(path));
        Self(paths.map(|path| (hash(path), path.to_vec())).collect())
    }

    /// The first four bytes of the hashes of its paths and of their directories, with `/usr` merged as far as
    /// possible. Any path that two lists share in some root has the same hash in both.
    pub(super) fn hashes(&self) -> Hashes {
        let files = self.resolved(UsrMerge::MergedSbin);
        let dirs: BTreeSet<&[u8]> = directories(&files).collect();
        let short = |path: &[u8]| (hash(path) >> 32) as u32;
        let sorted = |mut hashes: Vec<u32>| {
            hashes.sort_unstable();
            hashes.into_boxed_slice()
        };
        Hashes {
            files: sorted(files.keys().map(|path| short(path)).collect()),
            dirs: sorted(dirs.into_iter().map(short).collect()),
        }
    }

    /// The paths in both lists, and the paths that are a file in one and a directory in the other.
    #[must_use]
    pub fn shared_with(&self, other: &Self, usr: UsrMerge) -> BTreeSet<Vec<u8>> {
        let (own, theirs) = (self.resolved(usr), other.resolved(usr));
        let both = own.keys().filter(|path| theirs.contains_key(*path)).map(|path| &**path);
        // Portage installs through a symbolic link to a directory.
        let mixed = [(&own, &theirs), (&theirs, &own)].into_iter().flat_map(|(files, others)| {
            directories(others).filter(|dir| files.get(*dir) == Some(&Kind::File))
        });
        both.chain(mixed).map(<[u8]>::to_vec).collect()
    }

    /// Its paths in a root where `/usr` is merged in this way.
    fn resolved<'s>(&'s self, usr: UsrMerge) -> BTreeMap<Cow<'s, [u8]>, Kind> {
        let kind = |path: &'s Vec<u8>| match path.strip_suffix(b"/") {
            Some(link) => (resolve(link, usr), Kind::Link),
            None => (resolve(path, usr), Kind::File),
        };
        self.0.values().map(kind).collect()
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

/// The first four bytes of the hashes of files, and of the directories that contain them, both sorted.
#[derive(Debug)]
pub(super) struct Hashes {
    files: Box<[u32]>,
    dirs: Box<[u32]>,
}

impl Hashes {
    /// Whether a path may be a file in both, or a file in one and a directory in the other.
    pub(super) fn share(&self, other: &Self) -> bool {
        let pairs = [(&self.files, &other.files), (&self.files, &other.dirs), (&self.dirs, &other.files)];
        pairs.iter().any(|(one, other)| have_one_in_common(one, other))
    }
}

/// Whether two sorted lists have a number in common.
fn have_one_in_common(one: &[u32], other: &[u32]) -> bool {
    let (few, many) = if one.len() < other.len() { (one, other) } else { (other, one) };
    // For a small package and kernel sources, searching is faster than merging.
    few.iter().any(|hash| many.binary_search(hash).is_ok())
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
        let shared = shared(&one, &other, UsrMerge::Split);
        assert_eq!(shared, ["/etc/env.d/50tool", "/usr/bin/tool", "/usr/lib/python3.13/x.py"]);
    }

    /// The shared paths, which must be the same in both directions.
    fn shared(one: &FileList, other: &FileList, usr: UsrMerge) -> Vec<String> {
        let shared = one.shared_with(other, usr);
        assert_eq!(shared, other.shared_with(one, usr));
        assert!(shared.is_empty() || one.hashes().share(&other.hashes()), "the filter would not see it");
        shared.into_iter().map(|path| String::from_utf8(path).unwrap()).collect()
    }

    #[test]
    fn paths_are_the_same_only_where_usr_is_merged() {
        for (one, other, merged, sbin) in [
            ("/bin/x", "/usr/bin/x", true, true),
            ("/lib64/x.so", "/usr/lib64/x.so", true, true),
            ("/sbin/x", "/usr/sbin/x", true, true),
            ("/sbin/x", "/bin/x", false, true),
            ("/usr/sbin/x", "/usr/bin/x", false, true),
            ("/library/x", "/usr/library/x", false, false),
            ("/opt/bin/x", "/usr/bin/x", false, false),
        ] {
            for (usr, same) in
                [(UsrMerge::Split, false), (UsrMerge::Merged, merged), (UsrMerge::MergedSbin, sbin)]
            {
                let found = shared(&list(&[one, "/a"]), &list(&["/b", other]), usr);
                assert_eq!(!found.is_empty(), same, "{one} {other} {usr:?}: {found:?}");
            }
        }
    }

    #[test]
    fn a_file_where_another_has_a_directory_is_shared_and_a_link_is_not() {
        let dir = list(&["/usr/share/a", "/usr/share/x/deep/y", "/usr/share/x/z", "/usr/share/x-ray"]);
        for (path, found) in [
            ("/usr/share/x", &["/usr/share/x"][..]),
            ("/usr/share/x/deep", &["/usr/share/x/deep"]),
            ("/usr/share/x/", &[]),
            ("/usr/share/x-ray/", &["/usr/share/x-ray"]),
            ("/usr/share/x/deeper", &[]),
        ] {
            assert_eq!(shared(&list(&[path]), &dir, UsrMerge::Split), found, "{path}");
        }
        let merged = shared(&list(&["/lib/x"]), &list(&["/usr/lib/x/y"]), UsrMerge::Merged);
        assert_eq!(merged, ["/usr/lib/x"]);
    }
}
