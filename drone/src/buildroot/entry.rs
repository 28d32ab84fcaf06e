//! A package's entry in Portage's database of installed packages (`/var/db/pkg/CATEGORY/PF`).
//!
//! It contains what Portage 3.0.83 writes when it merges a binary package: one file for each metadata key,
//! `CONTENTS` with one line for each path, and `COUNTER`.

use std::{fmt::Write as _, fs, io, path::Path};
use swarm_formats::portage::gpkg::Metadata;

#[derive(Debug, Default)]
pub(super) struct Contents(String);

impl Contents {
    pub fn dir(&mut self, path: &str) {
        let _ = writeln!(self.0, "dir {path}");
    }

    /// Adds a file with its MD5 digest and its modification time in seconds.
    pub fn file(&mut self, path: &str, md5: &str, mtime: u64) {
        let _ = writeln!(self.0, "obj {path} {md5} {mtime}");
    }

    /// Adds a symbolic link with its modification time in seconds.
    pub fn link(&mut self, path: &str, target: &str, mtime: u64) {
        let _ = writeln!(self.0, "sym {path} -> {target} {mtime}");
    }
}

/// Writes the entry to the directory `at`.
pub(super) fn write(at: &Path, metadata: &Metadata, contents: &Contents) -> io::Result<()> {
    fs::create_dir_all(at)?;
    for (key, value) in &metadata.0 {
        // Signatures and digests in the package file belong to the container, not to the installed package.
        fs::write(at.join(key), value)?;
    }
    fs::write(at.join("CONTENTS"), &contents.0)?;
    // Any number will do, because nothing is ever unmerged.
    fs::write(at.join("COUNTER"), "1\n")
}
