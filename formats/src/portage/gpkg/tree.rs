//! The paths that an image has created so far, in a few bytes per path.
//!
//! Only hashes are stored, with a random key that is unknown to others. With half a million paths, the
//! probability that two collide is one in fifty million. Such a package is refused.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, DefaultHasher, Hasher as _, RandomState},
};

/// The kind of entry at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A directory without an entry of its own, which exists because something is below it.
    Implied = 0,
    Directory = 1,
    File = 2,
    Symlink = 3,
}

const KINDS: [Kind; 4] = [Kind::Directory, Kind::File, Kind::Symlink, Kind::Implied];

/// The bits of a hash that hold the kind.
const KIND: u64 = 0b11;

/// Why a path cannot be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clash {
    Twice,
    BehindSymlink,
    BelowFile,
    OverDirectory,
    TooMany,
}

pub(super) struct Tree {
    state: RandomState,
    seen: HashSet<u64>,
    limit: u64,
    /// The directory of the last path and the state of its hash, because most paths are in the same directory
    /// as the previous one.
    last: (Vec<u8>, DefaultHasher),
}

impl Tree {
    pub(super) fn new(limit: u64) -> Self {
        let state = RandomState::new();
        let last = (Vec::new(), state.build_hasher());
        Self { state, seen: HashSet::new(), limit, last }
    }

    /// Number of paths, including directories without an entry of their own.
    pub(super) fn len(&self) -> u64 {
        self.seen.len() as u64
    }

    /// Adds a path such as `image/usr/bin/tool`.
    pub(super) fn add(&mut self, path: &[u8], kind: Kind) -> Result<(), Clash> {
        let slash = path.iter().rposition(|&b| b == b'/');
        let (parent, name) = slash.map_or((&[][..], path), |at| (&path[..at], &path[at + 1..]));
        if self.last.0 != parent {
            self.last = (parent.to_vec(), self.walk(parent)?);
        }
        let mut hasher = self.last.1.clone();
        let hash = go_on(&mut hasher, name);
        match (self.find(hash), kind) {
            (None, _) => self.insert(hash, kind),
            (Some(Kind::Implied), Kind::Directory) => {
                self.seen.remove(&(hash | Kind::Implied as u64));
                self.insert(hash, kind)
            }
            (Some(Kind::Implied), _) => Err(Clash::OverDirectory),
            _ => Err(Clash::Twice),
        }
    }

    /// The kind of the entry at a path, if there is one.
    pub(super) fn get(&self, path: &[u8]) -> Option<Kind> {
        let mut hasher = self.state.build_hasher();
        let hashes = path.split(|&b| b == b'/').map(|name| go_on(&mut hasher, name));
        self.find(hashes.last()?)
    }

    /// Walks to a directory. The directory and its parents are added where they are missing, and must be
    /// directories otherwise. Returns the state of the hash of the path.
    fn walk(&mut self, path: &[u8]) -> Result<DefaultHasher, Clash> {
        let mut hasher = self.state.build_hasher();
        for name in path.split(|&b| b == b'/').filter(|_| !path.is_empty()) {
            let hash = go_on(&mut hasher, name);
            match self.find(hash) {
                None => self.insert(hash, Kind::Implied)?,
                Some(Kind::Implied | Kind::Directory) => {}
                Some(Kind::File) => return Err(Clash::BelowFile),
                Some(Kind::Symlink) => return Err(Clash::BehindSymlink),
            }
        }
        Ok(hasher)
    }

    fn find(&self, hash: u64) -> Option<Kind> {
        KINDS.into_iter().find(|&kind| self.seen.contains(&(hash | kind as u64)))
    }

    fn insert(&mut self, hash: u64, kind: Kind) -> Result<(), Clash> {
        if self.len() >= self.limit {
            return Err(Clash::TooMany);
        }
        self.seen.insert(hash | kind as u64);
        Ok(())
    }
}

/// Descends to an entry with this name and returns its hash, without a kind.
fn go_on(hasher: &mut DefaultHasher, name: &[u8]) -> u64 {
    hasher.write(name);
    hasher.write_u8(b'/');
    hasher.finish() & !KIND
}
