//! A package's entry in Portage's database of what is installed (`/var/db/pkg/CATEGORY/PF`).
//!
//! It is what Portage itself writes when it merges a binary package (3.0.83): every value of the
//! package's metadata as a file of its name, `CONTENTS` with a line for each path, and `COUNTER`.

use std::{fmt::Write as _, fs, io, path::Path};
use swarm_common::format::gpkg::Metadata;

/// The lines of `CONTENTS`.
#[derive(Debug, Default)]
pub(super) struct Contents(String);

impl Contents {
    /// A directory.
    pub fn dir(&mut self, path: &str) {
        let _ = writeln!(self.0, "dir {path}");
    }

    /// A file, with the MD5 of its bytes and its time in seconds.
    pub fn file(&mut self, path: &str, md5: &str, mtime: u64) {
        let _ = writeln!(self.0, "obj {path} {md5} {mtime}");
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, target: &str, mtime: u64) {
        let _ = writeln!(self.0, "sym {path} -> {target} {mtime}");
    }
}

/// Writes the entry into the directory `at`.
pub(super) fn write(at: &Path, metadata: &Metadata, contents: &Contents) -> io::Result<()> {
    fs::create_dir_all(at)?;
    for (key, value) in &metadata.0 {
        // The file's signatures and digests are of the container, not of what is installed.
        fs::write(at.join(key), value)?;
    }
    fs::write(at.join("CONTENTS"), &contents.0)?;
    // Only that there is a number counts here: nothing is ever unmerged.
    fs::write(at.join("COUNTER"), "1\n")
}
