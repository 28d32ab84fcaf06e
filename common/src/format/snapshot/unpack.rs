//! Reading a snapshot that may be hostile.
//!
//! Nothing is believed before it is checked: entry kinds, paths, link targets, sizes and
//! counts as they come, the digest over every byte at the end. Long names are read here
//! and not by the tar crate, because that would hold a name of any length in memory.
//! Content goes into a directory of its own beside the wanted one, which appears by
//! rename: a directory that is there is whole.

use super::{
    MANIFEST, MAX_BYTES, MAX_ENTRIES, MAX_MANIFEST_BYTES, SnapshotError, SnapshotManifest,
    path::{MAX_PATH, check_link, check_path},
};
use crate::{digest::Digest, format::digesting::DigestReader};
use std::{
    collections::HashSet,
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, Read, Write as _},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};
use tar::{Entry, EntryType};

/// Files of at most so many bytes are compared with those that are there; hardly any is larger.
const COMPARED: u64 = 1 << 20;

/// Unpacks the compressed snapshot `archive` as the directory `dir`, which must not be
/// there yet, and gives its manifest. On an error nothing is left.
///
/// Files that are the same in `like`, another unpacked snapshot on the same file system, become
/// hard links to those: from day to day hardly any file of a repository changes.
///
/// # Errors
/// It is not the snapshot `expected`, or not one at all, or cannot be written.
pub fn unpack(
    archive: impl Read,
    expected: Digest,
    dir: &Path,
    like: Option<&Path>,
) -> Result<SnapshotManifest, SnapshotError> {
    let mut partial = OsString::from(dir);
    partial.push(format!(".partial-{}", std::process::id()));
    let partial = Path::new(&partial);
    let failed = |what: &'static str| SnapshotError::io(format!("{}: {what}", partial.display()));
    if partial.exists() {
        fs::remove_dir_all(partial).map_err(failed("an older attempt cannot be removed"))?;
    }
    fs::create_dir_all(partial).and_then(|()| set_mode(partial, 0o755)).map_err(failed("cannot be made"))?;
    let result = read(archive, expected, Some(Places { dir: partial, like })).and_then(|manifest| {
        fs::rename(partial, dir)
            .map_err(SnapshotError::io(format!("{}: cannot be put in place", dir.display())))?;
        Ok(manifest)
    });
    if result.is_err() {
        // The first error is the one to tell; what is left is removed next time.
        let _ = fs::remove_dir_all(partial);
    }
    result
}

/// Checks the compressed snapshot `archive` without writing anything, and gives its
/// manifest.
///
/// # Errors
/// It is not the snapshot `expected`, or not one at all.
pub fn verify(archive: impl Read, expected: Digest) -> Result<SnapshotManifest, SnapshotError> {
    read(archive, expected, None)
}

/// Where content goes.
#[derive(Clone, Copy)]
struct Places<'a> {
    dir: &'a Path,
    /// Where some of it may be already.
    like: Option<&'a Path>,
}

fn read(
    archive: impl Read,
    expected: Digest,
    places: Option<Places<'_>>,
) -> Result<SnapshotManifest, SnapshotError> {
    let reading = || SnapshotError::io("reading the snapshot");
    let zstd = zstd::Decoder::new(archive).map_err(reading())?;
    let mut tar = tar::Archive::new(DigestReader::new(zstd, MAX_BYTES));
    let mut content = Content { places, manifest: None, entries: HashSet::new(), dirs: HashSet::new() };
    let mut long = LongNames::default();
    let mut count = 0;
    for entry in tar.entries().map_err(reading())?.raw(true) {
        let mut entry = entry.map_err(reading())?;
        count += 1;
        // A long name is an entry of its own, and so is a long target.
        if count > 3 * MAX_ENTRIES {
            return Err(SnapshotError::TooLarge { what: "entries", limit: MAX_ENTRIES });
        }
        match entry.header().entry_type() {
            EntryType::GNULongName => long.name = Some(long_text(&mut entry)?),
            EntryType::GNULongLink => long.target = Some(long_text(&mut entry)?),
            _ => content.take(&mut entry, std::mem::take(&mut long))?,
        }
    }
    let mut rest = tar.into_inner();
    // What follows the end mark belongs to the digest as well.
    io::copy(&mut rest, &mut io::sink()).map_err(reading())?;
    let (_, got) = rest.finish();
    if got != expected {
        return Err(SnapshotError::WrongDigest { expected, got });
    }
    let manifest =
        content.manifest.ok_or_else(|| SnapshotError::Manifest(format!("there is no {MANIFEST}")))?;
    let profile = manifest.profile_path();
    let below = format!("{profile}/");
    if !content.entries.iter().any(|path| path.starts_with(&below)) {
        return Err(SnapshotError::Manifest(format!("its Portage profile {profile} is not in it")));
    }
    Ok(manifest)
}

/// Names of the next entry that do not fit into its header.
#[derive(Default)]
struct LongNames {
    name: Option<String>,
    target: Option<String>,
}

fn long_text(entry: &mut Entry<'_, impl Read>) -> Result<String, SnapshotError> {
    let mut bytes = Vec::new();
    // One more for the NUL at its end, one more to see that it is too long.
    entry
        .take(MAX_PATH as u64 + 2)
        .read_to_end(&mut bytes)
        .map_err(SnapshotError::io("reading the snapshot"))?;
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    text(&bytes)
}

fn text(bytes: &[u8]) -> Result<String, SnapshotError> {
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| SnapshotError::entry(&String::from_utf8_lossy(bytes), "the name is not UTF-8"))
}

/// What has come so far.
struct Content<'a> {
    places: Option<Places<'a>>,
    manifest: Option<SnapshotManifest>,
    /// Files and links; nothing may lie below one.
    entries: HashSet<String>,
    /// What lies above them.
    dirs: HashSet<String>,
}

impl Content<'_> {
    fn take(&mut self, entry: &mut Entry<'_, impl Read>, long: LongNames) -> Result<(), SnapshotError> {
        let path = match long.name {
            Some(name) => name,
            None => text(&entry.path_bytes())?,
        };
        let refuse = |why: &str| SnapshotError::entry(&path, why);
        let kind = entry.header().entry_type();
        check_path(&path).map_err(|why| refuse(&why))?;
        if self.dirs.contains(&path) || !self.entries.insert(path.clone()) {
            return Err(refuse("is there twice"));
        }
        if self.entries.len() as u64 > MAX_ENTRIES {
            return Err(SnapshotError::TooLarge { what: "entries", limit: MAX_ENTRIES });
        }
        self.make_parents(&path)?;
        match kind {
            EntryType::Regular if path == MANIFEST => self.take_manifest(entry),
            EntryType::Regular => self.take_file(entry, &path),
            EntryType::Symlink => {
                let target = match (long.target, entry.link_name_bytes()) {
                    (Some(target), _) => target,
                    (None, Some(bytes)) => text(&bytes)?,
                    (None, None) => return Err(refuse("is a link to nothing")),
                };
                check_link(&path, &target).map_err(|why| refuse(&why))?;
                self.in_dir(&path, |at| symlink(&target, at))
            }
            EntryType::Link => Err(refuse("is a hard link; a snapshot has none")),
            EntryType::Char | EntryType::Block | EntryType::Fifo => Err(refuse("is a device or pipe")),
            _ => Err(refuse("is of a kind that a snapshot does not have")),
        }
    }

    fn take_manifest(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<(), SnapshotError> {
        let mut bytes = Vec::new();
        entry
            .take(MAX_MANIFEST_BYTES)
            .read_to_end(&mut bytes)
            .map_err(SnapshotError::io("reading the snapshot"))?;
        let manifest: SnapshotManifest =
            serde_json::from_slice(&bytes).map_err(|e| SnapshotError::Manifest(e.to_string()))?;
        manifest.check()?;
        self.manifest = Some(manifest);
        self.in_dir(MANIFEST, |at| {
            fs::write(at, &bytes)?;
            set_mode(at, 0o644)
        })
    }

    fn take_file(&self, entry: &mut Entry<'_, impl Read>, path: &str) -> Result<(), SnapshotError> {
        let mode = if entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0) { 0o755 } else { 0o644 };
        let size = entry.size();
        let known = self.places.and_then(|places| Some(places.like?.join(path)));
        self.in_dir(path, |at| {
            let mut bytes = Vec::new();
            let whole = entry.by_ref().take(COMPARED).read_to_end(&mut bytes)? as u64 == size;
            if whole && known.is_some_and(|known| link_if_same(&known, at, &bytes, mode)) {
                return Ok(());
            }
            let mut file = OpenOptions::new().write(true).create_new(true).open(at)?;
            file.write_all(&bytes)?;
            if bytes.len() as u64 + io::copy(entry, &mut file)? != size {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is cut off"));
            }
            set_mode(at, mode)
        })
    }

    /// Notes and makes the directories above `path`.
    fn make_parents(&mut self, path: &str) -> Result<(), SnapshotError> {
        for (at, _) in path.match_indices('/') {
            let parent = &path[..at];
            if self.entries.contains(parent) {
                return Err(SnapshotError::entry(
                    path,
                    format!("lies below `{parent}`, which is no directory"),
                ));
            }
            if self.dirs.insert(parent.to_owned()) {
                self.in_dir(parent, |at| {
                    fs::create_dir(at)?;
                    set_mode(at, 0o755)
                })?;
            }
        }
        Ok(())
    }

    /// Does `make` at the place of `path`, if anything is written.
    fn in_dir(&self, path: &str, make: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), SnapshotError> {
        let Some(places) = self.places else { return Ok(()) };
        let at = places.dir.join(path);
        make(&at).map_err(SnapshotError::io(at.display().to_string()))
    }
}

/// Makes `at` a hard link to `known` if that is a file with these bytes and this mode. Whatever
/// speaks against it only costs the space of another file.
fn link_if_same(known: &Path, at: &Path, bytes: &[u8], mode: u32) -> bool {
    let same = || -> io::Result<bool> {
        let meta = fs::symlink_metadata(known)?;
        let alike =
            meta.is_file() && meta.len() == bytes.len() as u64 && meta.permissions().mode() & 0o7777 == mode;
        Ok(alike && fs::read(known)? == bytes)
    };
    same().is_ok_and(|same| same) && fs::hard_link(known, at).is_ok()
}

/// Sets a mode whatever the process's umask is: builds run as another user.
fn set_mode(at: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(at, fs::Permissions::from_mode(mode))
}
