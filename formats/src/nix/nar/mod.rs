//! NAR, the archive format of store paths. It preserves names, contents, links and the executable bit, and
//! has exactly one encoding for a tree, so equal trees have equal hashes.
//!
//! An archive is a sequence of strings, each a 64-bit little-endian length, the bytes, and
//! zeros up to a multiple of eight:
//!
//! ```text
//! archive   = "nix-archive-1" node
//! node      = "(" "type" "regular" ["executable" ""] "contents" BYTES ")"
//!           | "(" "type" "symlink" "target" TARGET ")"
//!           | "(" "type" "directory" entry* ")"
//! entry     = "entry" "(" "name" NAME "node" node ")"        sorted by name
//! ```
//!
//! [`NarReader`] and [`NarWriter`] enforce that encoding, hash what passes through, and buffer one piece of a
//! file at a time.

mod dump;
mod error;
mod read;
mod references;
mod source;
mod write;

pub use dump::dump;
pub use error::NarError;
pub use read::NarReader;
pub use references::References;
pub use write::NarWriter;

use crate::nix::store_path::StorePath;
use std::collections::BTreeSet;
use swarm_common::digest::Digest;

const MAGIC: &str = "nix-archive-1";
/// The maximum length of a name, in bytes, as in Linux.
const MAX_NAME: usize = 255;
/// The maximum length of the target of a link, in bytes, as in Linux.
const MAX_TARGET: usize = 4095;
const NAME_LENGTH: &str = "a name must have 1 to 255 bytes";
const TARGET_LENGTH: &str = "the target of a link must have 1 to 4095 bytes";
/// Number of bytes that are read or written at a time.
const PIECE: usize = 1 << 16;

/// Limits on an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NarLimits {
    /// Size of the whole archive, in bytes.
    pub bytes: u64,
    /// Number of files, directories and links.
    pub entries: u64,
    /// Depth of nested directories.
    pub depth: usize,
}

impl Default for NarLimits {
    /// 64 GiB, a million entries, 256 directories deep.
    fn default() -> Self {
        Self { bytes: 64 << 30, entries: 1_000_000, depth: 256 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NarSum {
    pub hash: Digest,
    /// Size of the archive in bytes.
    pub size: u64,
}

/// What [`NarReader::finish`] returns about an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NarSummary {
    pub sum: NarSum,
    /// The candidates that the archive refers to, see [`References`].
    pub references: BTreeSet<StorePath>,
}

/// A part of an archive. Events come in the order of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NarEvent {
    /// The start of a node. A directory contains everything up to its [`NarEvent::Leave`].
    Node {
        /// Name in the enclosing directory; empty for the root.
        name: Vec<u8>,
        kind: NarKind,
    },
    /// The end of the innermost directory.
    Leave,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NarKind {
    Directory,
    /// A regular file.
    File {
        executable: bool,
        /// Size of the contents in bytes.
        size: u64,
        /// Byte offset of the contents in the archive.
        offset: u64,
    },
    /// A symbolic link. The target may be any path, inside the archive or not. Nothing in the archive can be
    /// below a link, because names are unique.
    Symlink {
        target: Vec<u8>,
    },
}

/// Checks the name of an entry that comes after `previous` in its directory.
fn check_name(name: &[u8], previous: &[u8]) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > MAX_NAME {
        Err(NAME_LENGTH)
    } else if name == b"." || name == b".." {
        Err("an entry is named `.` or `..`")
    } else if name.contains(&b'/') || name.contains(&0) {
        Err("a name contains a slash or a NUL byte")
    } else if name == previous {
        Err("two entries of a directory have the same name")
    } else if name < previous {
        Err("the entries of a directory are not sorted by name")
    } else {
        Ok(())
    }
}

fn check_target(target: &[u8]) -> Result<(), &'static str> {
    if target.is_empty() || target.len() > MAX_TARGET {
        Err(TARGET_LENGTH)
    } else if target.contains(&0) {
        Err("the target of a link contains a NUL byte")
    } else {
        Ok(())
    }
}

/// The number of zeros that follow a string of `size` bytes.
fn padding(size: u64) -> usize {
    (size.wrapping_neg() % 8) as usize
}
