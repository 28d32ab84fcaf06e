//! Writes a snapshot. Entries are collected first and then written in sorted order in one pass. File contents
//! are read only while writing, so memory holds little more than the paths.

use super::{
    MANIFEST, MAX_BYTES, MAX_ENTRIES, SnapshotError, SnapshotManifest,
    path::{check_link, check_path},
};
use crate::archive::digesting::DigestWriter;
use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use swarm_common::digest::Digest;
use tar::{EntryType, Header};

/// The entries of a snapshot that is being made.
#[derive(Debug)]
pub struct SnapshotContents {
    manifest: SnapshotManifest,
    entries: BTreeMap<String, Source>,
}

/// The source of an entry's content.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    File { path: PathBuf, executable: bool },
    Bytes(Vec<u8>),
    Link(String),
}

impl SnapshotContents {
    /// A snapshot with only a manifest.
    ///
    /// # Errors
    /// The manifest is invalid.
    pub fn new(manifest: SnapshotManifest) -> Result<Self, SnapshotError> {
        manifest.check()?;
        Ok(Self { manifest, entries: BTreeMap::new() })
    }

    /// Adds a file with these bytes.
    ///
    /// # Errors
    /// The path is invalid or taken.
    pub fn add_bytes(&mut self, path: &str, bytes: Vec<u8>) -> Result<(), SnapshotError> {
        self.add(path, Source::Bytes(bytes))
    }

    /// Adds the file or symbolic link `root/relative` as `prefix/relative`. A link must not lead out of
    /// `root`.
    ///
    /// # Errors
    /// The entry is neither a file nor a link, its path is invalid, or the link leads out of `root`.
    pub fn add_from(&mut self, prefix: &str, root: &Path, relative: &str) -> Result<(), SnapshotError> {
        let path = format!("{prefix}/{relative}");
        let on_disk = root.join(relative);
        let shown = on_disk.display().to_string();
        let meta = fs::symlink_metadata(&on_disk).map_err(SnapshotError::io(shown.as_str()))?;
        let source = if meta.is_file() {
            Source::File { path: on_disk, executable: meta.permissions().mode() & 0o111 != 0 }
        } else if meta.is_symlink() {
            let target = fs::read_link(&on_disk).map_err(SnapshotError::io(shown.as_str()))?;
            let target =
                target.to_str().ok_or_else(|| SnapshotError::entry(&shown, "its target is not UTF-8"))?;
            // Check the link against the path below `root`: a link that leaves its tree would resolve
            // differently on every machine.
            check_link(relative, target).map_err(|why| SnapshotError::entry(&shown, why))?;
            Source::Link(target.to_owned())
        } else {
            return Err(SnapshotError::entry(&shown, "is neither a file nor a symbolic link"));
        };
        self.add(&path, source)
    }

    fn add(&mut self, path: &str, source: Source) -> Result<(), SnapshotError> {
        check_path(path).map_err(|why| SnapshotError::entry(path, why))?;
        if path == MANIFEST || self.entries.insert(path.to_owned(), source).is_some() {
            return Err(SnapshotError::entry(path, "occurs twice"));
        }
        if self.entries.len() as u64 >= MAX_ENTRIES {
            return Err(SnapshotError::TooLarge { what: "entries", limit: MAX_ENTRIES });
        }
        Ok(())
    }

    /// Number of files and links, without the manifest.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is only the manifest.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Writes the compressed snapshot and returns its digest. `progress` is called for each entry.
    ///
    /// # Errors
    /// A file cannot be read or has changed, `out` cannot be written, or a size limit is exceeded.
    pub fn write(&self, out: impl Write, mut progress: impl FnMut()) -> Result<Digest, SnapshotError> {
        let writing = || SnapshotError::io("writing the snapshot");
        let zstd = zstd::Encoder::new(out, 6).map_err(writing())?;
        let mut tar = tar::Builder::new(DigestWriter::new(zstd));
        let manifest =
            serde_json::to_vec(&self.manifest).map_err(|e| SnapshotError::Manifest(e.to_string()))?;
        tar.append_data(&mut file_header(manifest.len() as u64, false), MANIFEST, manifest.as_slice())
            .map_err(writing())?;
        for (path, source) in &self.entries {
            match source {
                Source::Bytes(bytes) => tar
                    .append_data(&mut file_header(bytes.len() as u64, false), path, bytes.as_slice())
                    .map_err(writing())?,
                Source::Link(target) => {
                    let mut header = plain_header(EntryType::Symlink, 0o777);
                    tar.append_link(&mut header, path, target).map_err(writing())?;
                }
                Source::File { path: on_disk, executable } => {
                    append_file(&mut tar, path, on_disk, *executable)?;
                }
            }
            if tar.get_ref().bytes() > MAX_BYTES {
                return Err(SnapshotError::TooLarge { what: "bytes", limit: MAX_BYTES });
            }
            progress();
        }
        let (out, digest) = tar.into_inner().map_err(writing())?.finish();
        out.finish().and_then(|mut out| out.flush()).map_err(writing())?;
        Ok(digest)
    }
}

fn append_file<W: Write>(
    tar: &mut tar::Builder<W>,
    path: &str,
    on_disk: &Path,
    executable: bool,
) -> Result<(), SnapshotError> {
    let reading = || SnapshotError::io(on_disk.display().to_string());
    let file = fs::File::open(on_disk).map_err(reading())?;
    let size = file.metadata().map_err(reading())?.len();
    let mut content = file.take(size);
    tar.append_data(&mut file_header(size, executable), path, &mut content).map_err(reading())?;
    if content.limit() != 0 {
        return Err(SnapshotError::entry(path, "changed while it was read; try again"));
    }
    Ok(())
}

pub(super) fn plain_header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

fn file_header(size: u64, executable: bool) -> Header {
    let mut header = plain_header(EntryType::Regular, if executable { 0o755 } else { 0o644 });
    header.set_size(size);
    header
}
