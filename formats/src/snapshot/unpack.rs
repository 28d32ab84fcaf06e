//! Reads an untrusted snapshot.
//!
//! Everything is validated: entry types, paths, link targets, sizes and counts while reading, and at the end
//! the digest over every byte. Content is written to a temporary directory next to the target, which is then
//! renamed, so a directory that exists is complete. A difference is unpacked as an overlayfs layer, which the
//! caller puts in place.

use super::{
    MANIFEST, MAX_BYTES, MAX_ENTRIES, MAX_MANIFEST_BYTES, MAX_PATH_BYTES, SnapshotError, SnapshotManifest,
    difference::Merged,
    entries::REMOVED,
    path::{check_link, check_path},
};
use crate::archive::{
    WINDOW_LOG_MAX,
    digesting::DigestReader,
    tar_reader::{EntryKind, TarEntry, TarReader},
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::{
    collections::HashSet,
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};
use swarm_common::digest::Digest;

/// Number of bytes that are read at a time.
const READ_BYTES: usize = 256 << 10;

/// The directory in which [`unpack_difference`] puts the files that differ from the older snapshot.
pub const LAYER: &str = "files";
/// The directory in which [`unpack_difference`] puts what the drone itself reads: the manifest and all of
/// `etc`. For Nix, which reads plain directories, this is the complete snapshot.
pub const OWN: &str = "own";

/// Unpacks the compressed snapshot `archive` to `dir`, which must not exist, and returns its
/// manifest. After an error nothing is left behind.
///
/// # Errors
/// `archive` is not a valid snapshot, has another digest than `expected`, or cannot be written.
pub fn unpack(archive: impl Read, expected: Digest, dir: &Path) -> Result<SnapshotManifest, SnapshotError> {
    let mut partial = OsString::from(dir);
    partial.push(format!(".partial-{}", std::process::id()));
    let partial = Path::new(&partial);
    let failed = |what: &'static str| SnapshotError::io(format!("{}: {what}", partial.display()));
    if partial.exists() {
        fs::remove_dir_all(partial).map_err(failed("an older attempt cannot be removed"))?;
    }
    fs::create_dir_all(partial).and_then(|()| set_mode(partial, 0o755)).map_err(failed("cannot be made"))?;
    let result = decoded(archive).and_then(|tar| read(tar, expected, Some(partial), |_| true));
    let result = result.and_then(|(manifest, _)| {
        fs::rename(partial, dir)
            .map_err(SnapshotError::io(format!("{}: cannot be put in place", dir.display())))?;
        Ok(manifest)
    });
    if result.is_err() {
        // Report the first error. Leftovers are removed by the next attempt.
        let _ = fs::remove_dir_all(partial);
    }
    result
}

/// Verifies the compressed snapshot `archive` without writing anything, and returns its manifest.
///
/// # Errors
/// `archive` is not a valid snapshot, or has another digest than `expected`.
pub fn verify(archive: impl Read, expected: Digest) -> Result<SnapshotManifest, SnapshotError> {
    Ok(read(decoded(archive)?, expected, None, |_| true)?.0)
}

/// Unpacks the files in which the snapshot `expected` differs from another one. The first of `archives` is a
/// whole snapshot, and each other one is the difference from its predecessor. The last one is unpacked.
///
/// In the empty directory `dir`, [`LAYER`] becomes the overlayfs layer that turns the other snapshot's
/// directories into those of this one, and [`OWN`] contains the files that are read without overlayfs.
/// Returns the manifest. After an error, `dir` may contain part of the result.
///
/// # Errors
/// The archives cannot be read, do not merge into the snapshot `expected`, or cannot be written.
pub fn unpack_difference(
    archives: &[PathBuf],
    expected: Digest,
    dir: &Path,
) -> Result<SnapshotManifest, SnapshotError> {
    let [.., newest] = archives else {
        return Err(SnapshotError::Manifest("there is no archive".into()));
    };
    let make = |name: &str| -> Result<PathBuf, SnapshotError> {
        let made = dir.join(name);
        let done = fs::create_dir(&made).and_then(|()| set_mode(&made, 0o755));
        done.map_err(SnapshotError::io(made.display().to_string()))?;
        Ok(made)
    };
    let (own, layer) = (make(OWN)?, make(LAYER)?);
    let tars: Vec<_> = archives.iter().map(|archive| open(archive)).collect::<Result<_, _>>()?;
    let merged = Merged::new(tars).map_err(SnapshotError::io("reading the difference"))?;
    let is_own = |path: &str| path == MANIFEST || path == "etc" || path.starts_with("etc/");
    let (manifest, whole) = read(merged, expected, Some(&own), is_own)?;
    // The digest has now proved that the difference belongs to this snapshot.
    let mut content = Content::new(Some(&layer), |_| true);
    content.take_all(open(newest)?)?;
    content.hide(&whole)?;
    Ok(manifest)
}

fn open(archive: &Path) -> Result<impl Read + use<>, SnapshotError> {
    let opened = File::open(archive).map_err(SnapshotError::io(archive.display().to_string()))?;
    Ok(BufReader::with_capacity(READ_BYTES, decoded(opened)?))
}

fn decoded<R: Read>(archive: R) -> Result<impl Read + use<R>, SnapshotError> {
    let reading = || SnapshotError::io("reading the snapshot");
    let mut decoder = zstd::Decoder::new(archive).map_err(reading())?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(reading())?;
    Ok(decoder)
}

/// Reads a whole snapshot. `is_selected` selects the paths that are written to `dir`.
fn read<'a>(
    tar: impl Read,
    expected: Digest,
    dir: Option<&'a Path>,
    is_selected: fn(&str) -> bool,
) -> Result<(SnapshotManifest, Content<'a>), SnapshotError> {
    let mut content = Content::new(dir, is_selected);
    let got = content.take_all(tar)?;
    if got != expected {
        return Err(SnapshotError::WrongDigest { expected, got });
    }
    if let Some(path) = content.removed.first() {
        return Err(SnapshotError::entry(path, "is a kind of file that a snapshot must not contain"));
    }
    let manifest =
        content.manifest.take().ok_or_else(|| SnapshotError::Manifest(format!("there is no {MANIFEST}")))?;
    manifest.check_paths(content.entries.iter())?;
    Ok((manifest, content))
}

fn text(bytes: &[u8]) -> Result<String, SnapshotError> {
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| SnapshotError::entry(&String::from_utf8_lossy(bytes), "the name is not UTF-8"))
}

struct Content<'a> {
    dir: Option<&'a Path>,
    /// Selects the paths that are written.
    is_selected: fn(&str) -> bool,
    manifest: Option<SnapshotManifest>,
    /// Files and links. Nothing may be below one.
    entries: HashSet<String>,
    /// The directories above the entries.
    dirs: HashSet<String>,
    /// Paths that a difference removes.
    removed: Vec<String>,
    path_bytes: u64,
}

impl<'a> Content<'a> {
    fn new(dir: Option<&'a Path>, is_selected: fn(&str) -> bool) -> Self {
        let (entries, dirs) = Default::default();
        Self { dir, is_selected, manifest: None, entries, dirs, removed: Vec::new(), path_bytes: 0 }
    }

    /// Reads every entry, and returns the digest of everything read.
    fn take_all(&mut self, tar: impl Read) -> Result<Digest, SnapshotError> {
        let reading = || SnapshotError::io("reading the snapshot");
        let mut tar = TarReader::new(DigestReader::new(tar, MAX_BYTES));
        let mut count = 0;
        while let Some(entry) = tar.next_entry().map_err(|error| reading()(error.into()))? {
            count += 1;
            // A difference has removed paths in addition to those of a snapshot.
            if count > 2 * MAX_ENTRIES {
                return Err(SnapshotError::TooLarge { what: "entries", limit: MAX_ENTRIES });
            }
            self.take(entry, &mut tar)?;
        }
        // The reader has read on to the end of the source, so the digest covers everything.
        Ok(tar.into_inner().finish().1)
    }

    /// Makes overlayfs hide what the snapshot `whole` no longer has. A directory with nothing left below it
    /// is hidden as well, because it would otherwise appear as an empty directory.
    fn hide(&self, whole: &Content<'_>) -> Result<(), SnapshotError> {
        let mut hidden = HashSet::new();
        for path in &self.removed {
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            let Some(gone) = ends.map(|end| &path[..end]).find(|part| !whole.dirs.contains(*part)) else {
                continue; // There is a directory in its place.
            };
            // Where a file replaced a directory, nothing below it is visible.
            if whole.entries.contains(gone) || !hidden.insert(gone) {
                continue;
            }
            for (end, _) in gone.match_indices('/') {
                let above = &gone[..end];
                self.in_dir(above, |at| if at.is_dir() { Ok(()) } else { make_dir(at) })?;
            }
            // In overlayfs, this is a whiteout.
            let kind = FileType::CharacterDevice;
            self.in_dir(gone, |at| Ok(mknodat(CWD, at, kind, Mode::empty(), 0)?))?;
        }
        Ok(())
    }

    fn take(&mut self, entry: TarEntry, tar: &mut TarReader<impl Read>) -> Result<(), SnapshotError> {
        let path = text(&entry.path)?;
        let refuse = |why: &str| SnapshotError::entry(&path, why);
        check_path(&path).map_err(|why| refuse(&why))?;
        self.count_path(&path)?;
        if entry.kind == EntryKind::Special(REMOVED) {
            self.removed.push(path);
            return Ok(());
        }
        if self.dirs.contains(&path) || !self.entries.insert(path.clone()) {
            return Err(refuse("occurs twice"));
        }
        if self.entries.len() as u64 > MAX_ENTRIES {
            return Err(SnapshotError::TooLarge { what: "entries", limit: MAX_ENTRIES });
        }
        self.make_parents(&path)?;
        match entry.kind {
            EntryKind::File if path == MANIFEST => self.take_manifest(tar),
            EntryKind::File => self.take_file(tar, &path, entry.size),
            EntryKind::Symlink => {
                let target = text(&entry.link)?;
                check_link(&path, &target).map_err(|why| refuse(&why))?;
                self.in_dir(&path, |at| symlink(&target, at))
            }
            EntryKind::Hardlink => Err(refuse("is a hard link, which a snapshot must not contain")),
            EntryKind::Special(b'3' | b'4' | b'6') => Err(refuse("is a device or pipe")),
            EntryKind::Directory | EntryKind::Special(_) => {
                Err(refuse("is a kind of file that a snapshot must not contain"))
            }
        }
    }

    fn take_manifest(&mut self, tar: &mut TarReader<impl Read>) -> Result<(), SnapshotError> {
        let mut bytes = Vec::new();
        let read = tar.take(MAX_MANIFEST_BYTES).read_to_end(&mut bytes);
        read.map_err(SnapshotError::io("reading the snapshot"))?;
        let manifest: SnapshotManifest =
            serde_json::from_slice(&bytes).map_err(|e| SnapshotError::Manifest(e.to_string()))?;
        manifest.check()?;
        self.manifest = Some(manifest);
        self.in_dir(MANIFEST, |at| {
            fs::write(at, &bytes)?;
            set_mode(at, 0o644)
        })
    }

    fn take_file(&self, tar: &mut TarReader<impl Read>, path: &str, size: u64) -> Result<(), SnapshotError> {
        let attributes = tar.attributes().map_err(|error| SnapshotError::entry(path, error.to_string()))?;
        let mode = if attributes.mode & 0o111 != 0 { 0o755 } else { 0o644 };
        self.in_dir(path, |at| {
            let mut file = OpenOptions::new().write(true).create_new(true).open(at)?;
            if io::copy(tar, &mut file)? != size {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is cut off"));
            }
            set_mode(at, mode)
        })
    }

    /// Records and creates the directories above `path`.
    fn make_parents(&mut self, path: &str) -> Result<(), SnapshotError> {
        for (at, _) in path.match_indices('/') {
            let parent = &path[..at];
            if self.entries.contains(parent) {
                return Err(SnapshotError::entry(
                    path,
                    format!("lies below `{parent}`, which is not a directory"),
                ));
            }
            if self.dirs.insert(parent.to_owned()) {
                self.count_path(parent)?;
                self.in_dir(parent, make_dir)?;
            }
        }
        Ok(())
    }

    /// Limits the memory for paths. Each directory of a deep path counts.
    fn count_path(&mut self, path: &str) -> Result<(), SnapshotError> {
        self.path_bytes += path.len() as u64;
        match self.path_bytes > MAX_PATH_BYTES {
            true => Err(SnapshotError::TooLarge { what: "bytes of paths", limit: MAX_PATH_BYTES }),
            false => Ok(()),
        }
    }

    /// Calls `make` with the path on disk, if the entry is being written.
    fn in_dir(&self, path: &str, make: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), SnapshotError> {
        let is_nix = || self.manifest.as_ref().is_some_and(|manifest| manifest.nix.is_some());
        let Some(dir) = self.dir.filter(|_| (self.is_selected)(path) || is_nix()) else { return Ok(()) };
        let at = dir.join(path);
        make(&at).map_err(SnapshotError::io(at.display().to_string()))
    }
}

fn make_dir(at: &Path) -> io::Result<()> {
    fs::create_dir(at)?;
    set_mode(at, 0o755)
}

/// Sets a mode regardless of the umask, because builds run as another user.
fn set_mode(at: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(at, fs::Permissions::from_mode(mode))
}
