//! A layer: the files that installing one artifact adds to a base, as a read-only directory.
//!
//! An artifact without `pkg_preinst` and `pkg_postinst` is unpacked: its image and its entry in the package
//! database. If what it [replaces](super::replaced) in the base requires Portage, or if it has one of these
//! scripts, Portage installs it into an empty overlay, and the changes, without files that all packages
//! share, become the layer. If they include files that the package does not own, the artifact cannot be a
//! layer, and Portage installs it in every build root.

use super::{
    entry::{self, Contents},
    tree::Tree,
};
use rustix::fs::{AtFlags, CWD, Gid, Timespec, Timestamps, Uid, chownat, utimensat};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
    },
    path::{Component, Path, PathBuf},
};
use swarm_formats::{
    archive::{
        digests::FileHasher,
        tar_reader::{EntryKind, TarAttributes, TarEntry, TarReader},
    },
    portage::gpkg::{Limits, Metadata, inner, read_metadata},
};

/// Files shared by all installed packages. They belong to no layer and are generated in each build root. The
/// list is based on what Portage changed when it merged 48 real packages.
const SHARED: [&str; 18] = [
    "etc/ld.so.cache",
    "etc/ld.so.conf",
    "etc/profile.env",
    "etc/csh.env",
    "etc/environment.d/10-gentoo-env.conf",
    "etc/resolv.conf",
    "etc/portage",
    "run",
    "share/portage",
    "usr/share/portage/config",
    "var/cache",
    "var/db/repos",
    "var/lib/portage",
    "var/lib/gentoo",
    "var/log",
    "var/tmp",
    "tmp",
    "proc",
];

/// Reads the metadata of a package file.
///
/// # Errors
/// The file cannot be read or has no valid metadata.
pub fn metadata(file: &Path) -> io::Result<Metadata> {
    member(file, "metadata.tar", |tar| {
        read_metadata(tar, &Limits::default()).map_err(|error| invalid(error.to_string()))
    })
}

/// Whether Portage must install the package because it has install scripts.
#[must_use]
pub fn acts(metadata: &Metadata) -> bool {
    has_phase(&metadata.line("DEFINED_PHASES"), ["preinst", "postinst"])
}

/// Whether a value of `DEFINED_PHASES` contains one of these phases.
pub(super) fn has_phase(defined: &str, phases: [&str; 2]) -> bool {
    defined.split_whitespace().any(|phase| phases.contains(&phase))
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Reads the inner archive `name` of a package file, decompressed.
fn member<T>(
    file: &Path,
    name: &str,
    read: impl FnOnce(Box<dyn Read + '_>) -> io::Result<T>,
) -> io::Result<T> {
    let mut outer = TarReader::new(File::open(file)?);
    while let Some(entry) = outer.next_entry()? {
        let suffix = path_of(&entry.path).file_name().and_then(|n| n.to_str()?.strip_prefix(name));
        let Some(suffix) = suffix else { continue };
        if let Some(reader) = inner(suffix, &mut outer)? {
            return read(reader);
        }
    }
    Err(invalid(format!("the package file has no readable {name}")))
}

fn path_of(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// Unpacks a package file into the directory `to`, which becomes a layer over `base`. `entry` is
/// `category/name-version`.
///
/// # Errors
/// A disk error, or the package file is invalid. A partial layer may remain.
pub fn unpack(file: &Path, base: &Tree, entry: &str, to: &Path) -> io::Result<()> {
    let metadata = metadata(file)?;
    let mut image =
        Image { base, to, contents: Contents::default(), dirs: Vec::new(), made: BTreeSet::new() };
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    member(file, "image.tar", |tar| {
        let mut tar = TarReader::new(tar);
        while let Some(entry) = tar.next_entry()? {
            image.take(entry, &mut tar)?;
        }
        Ok(())
    })?;
    image.finish()?;
    let contents = image.contents;
    let database = base.resolve(&Path::new("/var/db/pkg").join(entry));
    entry::write(&to.join(database.strip_prefix("/").unwrap_or(&database)), &metadata, &contents)
}

struct Image<'a> {
    base: &'a Tree,
    to: &'a Path,
    contents: Contents,
    /// Directories whose modification times are set at the end.
    dirs: Vec<(PathBuf, u64)>,
    made: BTreeSet<PathBuf>,
}

impl Image<'_> {
    fn take(&mut self, entry: TarEntry, tar: &mut TarReader<impl Read>) -> io::Result<()> {
        let TarEntry { path, kind, link, .. } = entry;
        let Some(path) = within(path_of(&path))? else { return Ok(()) };
        let text = path.to_str().ok_or_else(|| invalid("a path in the package is not UTF-8"))?.to_owned();
        let attributes = tar.attributes()?;
        let owner = self.owner(&attributes, tar.owner_names());
        let TarAttributes { mode, mtime, .. } = attributes;
        match kind {
            EntryKind::Directory => {
                // Follow links in the base, such as `/lib` to `/usr/lib`.
                let at = self.at(&self.base.resolve(&path))?;
                fs::create_dir_all(&at)?;
                own(&at, owner)?;
                fs::set_permissions(&at, fs::Permissions::from_mode(mode))?;
                self.dirs.push((at, mtime));
                self.contents.dir(&text);
            }
            EntryKind::File => {
                let at = self.place(&path)?;
                let mut file = File::create_new(&at)?;
                let mut hasher = FileHasher::default();
                let mut piece = vec![0; 128 << 10];
                loop {
                    let read = tar.read(&mut piece)?;
                    if read == 0 {
                        break;
                    }
                    hasher.update(&piece[..read]);
                    file.write_all(&piece[..read])?;
                }
                drop(file);
                own(&at, owner)?;
                fs::set_permissions(&at, fs::Permissions::from_mode(mode))?;
                set_time(&at, mtime)?;
                self.contents.file(&text, &hasher.finish().md5, mtime);
            }
            EntryKind::Symlink if link.is_empty() => {
                return Err(invalid("a symbolic link has an empty target"));
            }
            EntryKind::Symlink => {
                let (at, target) = (self.place(&path)?, path_of(&link));
                symlink(target, &at)?;
                own(&at, owner)?;
                set_time(&at, mtime)?;
                self.contents.link(&text, &target.to_string_lossy(), mtime);
            }
            EntryKind::Hardlink => {
                let target = within(path_of(&link))?;
                let target = target.ok_or_else(|| invalid("a hard link points outside the package"))?;
                let (from, at) = (self.place(&target)?, self.place(&path)?);
                fs::hard_link(&from, &at)?;
                let mut hasher = FileHasher::default();
                hasher.update(&fs::read(&at)?);
                self.contents.file(&text, &hasher.finish().md5, fs::metadata(&at)?.mtime().unsigned_abs());
            }
            EntryKind::Special(_) => {
                return Err(invalid(format!("{text} is of a kind that is not allowed in a package")));
            }
        }
        Ok(())
    }

    /// The owner, looked up by name in the base; by number if the base does not have the name.
    fn owner(&self, attributes: &TarAttributes, [user, group]: [Vec<u8>; 2]) -> (u32, u32) {
        let by_name = |name: &[u8], file| self.base.number_of(file, std::str::from_utf8(name).ok()?);
        let (uid, gid) = (by_name(&user, "/etc/passwd"), by_name(&group, "/etc/group"));
        (uid.unwrap_or(attributes.uid), gid.unwrap_or(attributes.gid))
    }

    /// Where to write a path that is not a directory. Creates its parent.
    fn place(&mut self, path: &Path) -> io::Result<PathBuf> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(invalid("the package has an empty path"));
        };
        let parent = self.at(&self.base.resolve(parent))?;
        if self.made.insert(parent.clone()) {
            fs::create_dir_all(&parent)?;
        }
        Ok(parent.join(name))
    }

    /// Maps a path in the base to a path in the layer. Rejects paths below a link of the package itself,
    /// because they would be written to wherever the link points.
    fn at(&self, path: &Path) -> io::Result<PathBuf> {
        let mut at = self.to.to_owned();
        for part in path.components().filter(|part| matches!(part, Component::Normal(_))) {
            at.push(part);
            if fs::symlink_metadata(&at).is_ok_and(|found| found.is_symlink()) {
                return Err(invalid(format!("{} lies below a link of the package itself", path.display())));
            }
        }
        Ok(at)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.dirs.iter().rev().try_for_each(|(dir, mtime)| set_time(dir, *mtime))
    }
}

/// Converts a path in the archive (`image/…`) to an absolute one; `None` for `image` itself.
fn within(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut parts = path.components().filter(|part| *part != Component::CurDir);
    if parts.next() != Some(Component::Normal("image".as_ref())) {
        return Err(invalid(format!("{} is not below image/", path.display())));
    }
    let rest: PathBuf = parts.collect();
    if rest.components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err(invalid(format!("{} points outside the package", path.display())));
    }
    Ok((!rest.as_os_str().is_empty()).then(|| Path::new("/").join(rest)))
}

pub(super) fn own(path: &Path, (uid, gid): (u32, u32)) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    Ok(chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

pub(super) fn set_time(path: &Path, mtime: u64) -> io::Result<()> {
    let time = Timespec { tv_sec: i64::try_from(mtime).unwrap_or(0), tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Turns what Portage changed in an empty overlay into a layer by removing shared files and whiteouts.
/// Returns the paths that the whiteouts hid. Returns `None` if remaining files do not belong to the package,
/// so that the result cannot be used as a layer. `entry` is `category/name-version`.
///
/// # Errors
/// A disk error, or Portage left no entry in the package database.
pub fn strip(upper: &Path, base: &Tree, entry: &str) -> io::Result<Option<Vec<PathBuf>>> {
    for shared in SHARED {
        remove(&upper.join(shared))?;
    }
    let own_entry = base.resolve(&Path::new("/var/db/pkg").join(entry));
    let contents = upper.join(own_entry.strip_prefix("/").unwrap_or(&own_entry)).join("CONTENTS");
    let contents = fs::read_to_string(contents)?;
    // `CONTENTS` contains the paths in the package, even if a link in the base leads elsewhere.
    let real = |path: &str| {
        let path = Path::new(path);
        path.parent().zip(path.file_name()).map(|(parent, name)| base.resolve(parent).join(name))
    };
    let owned: BTreeSet<PathBuf> = contents.lines().filter_map(owned_path).filter_map(real).collect();
    let (mut foreign, mut gone) = (false, Vec::new());
    walk(upper, &mut |path, found| {
        let inside = Path::new("/").join(path.strip_prefix(upper).unwrap_or(path));
        if is_hole(found) {
            gone.push(inside);
            return fs::remove_file(path);
        }
        let own = found.is_dir()
            || inside.starts_with(&own_entry)
            || owned.contains(&inside)
            || inside.components().any(|part| part.as_os_str() == "__pycache__");
        foreign |= !own;
        Ok(())
    })?;
    Ok((!foreign).then_some(gone))
}

/// Whether this is an overlay whiteout (a 0/0 character device), which marks a removed file.
pub(super) fn is_hole(found: &fs::Metadata) -> bool {
    found.rdev() == 0 && !found.is_file() && !found.is_dir() && !found.is_symlink()
}

/// The path in a line of `CONTENTS`.
pub(super) fn owned_path(line: &str) -> Option<&str> {
    let (kind, rest) = line.split_once(' ')?;
    match kind {
        "obj" => rest.rsplitn(3, ' ').nth(2),
        "sym" => rest.split(" -> ").next(),
        _ => Some(rest),
    }
}

/// Removes a file, or a directory recursively. A missing path is not an error.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Calls `see` for everything below `dir`, sorted by name, each directory before its content.
pub(crate) fn walk(
    dir: &Path,
    see: &mut impl FnMut(&Path, &fs::Metadata) -> io::Result<()>,
) -> io::Result<()> {
    let mut names: Vec<PathBuf> = fs::read_dir(dir)?.map(|e| Ok(e?.path())).collect::<io::Result<_>>()?;
    names.sort_unstable();
    for path in names {
        let found = fs::symlink_metadata(&path)?;
        see(&path, &found)?;
        if found.is_dir() {
            walk(&path, see)?;
        }
    }
    Ok(())
}
