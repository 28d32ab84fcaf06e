//! The configuration that Portage reads in a build root: the profile's bundle, and after
//! it what the drone has to say about places, packaging and safety.
//!
//! The bundle comes first and the drone's settings last, so that the drone wins where
//! both speak. Nothing here changes what is in a package: that is the bundle's business
//! alone, or two drones would build different packages from one snapshot.

use super::{Root, RootError, make_dir, settings};
use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// Last in every configuration directory, so that it is read last.
const OURS: &str = "zzzz-swarm";

/// Writes all of `etc/portage`.
pub(super) fn write(root: &Root) -> Result<(), RootError> {
    let etc = root.outside().etc.clone();
    let bundle = root.outside().snapshot.join("etc/portage");
    if bundle.exists() {
        copy(&bundle, &etc)?;
    }
    // What the snapshot must not bring, because it is different on every machine.
    let linked = root.manifest().portage_profile.is_some().then_some("make.profile");
    for name in ["repos.conf", "binrepos.conf"].into_iter().chain(linked) {
        if etc.join(name).symlink_metadata().is_ok() {
            return Err(RootError::Snapshot(format!("it brings its own etc/portage/{name}")));
        }
    }
    for name in ["make.conf", "package.use"] {
        as_directory(&etc.join(name))?;
    }
    profile(root)?;
    write_settings(root)
}

/// The link to the profile.
fn profile(root: &Root) -> Result<(), RootError> {
    let manifest = root.manifest();
    let path = manifest.profile_path();
    if !root.has_in_snapshot(&path) {
        return Err(RootError::Snapshot(format!("there is no Portage profile {path}")));
    }
    if manifest.portage_profile.is_none() {
        return Ok(()); // It came with the bundle.
    }
    let at = root.outside().etc.join("make.profile");
    // Where Portage knows the repository: anywhere else it is no profile of the repository,
    // and cannot be what `profile-formats` allows there.
    let profile = root.inside().repositories.join(path.strip_prefix("repos/").unwrap_or(&path));
    symlink(profile, &at).map_err(RootError::io("link", at))
}

/// What takes the place of every `repos.conf`: the one that a Portage brings along names a
/// repository that is not the snapshot's.
pub(super) fn repositories(root: &Root) -> String {
    let manifest = root.manifest();
    let mut text = format!("[DEFAULT]\nmain-repo = {}\n", manifest.main_repository);
    for repository in &manifest.repositories {
        let location = root.inside().repositories.join(&repository.name);
        // `volatile = no`: the content never changes under this path, so caches hold.
        let _ = write!(
            text,
            "\n[{}]\nlocation = {}\nauto-sync = no\nvolatile = no\n",
            repository.name,
            location.display()
        );
        for (key, value) in &repository.settings {
            let _ = writeln!(text, "{key} = {value}");
        }
    }
    text
}

/// Writes the drone's own settings after the bundle's. Portage has them from the environment
/// as well, but the programs that it starts to pack read these files alone.
fn write_settings(root: &Root) -> Result<(), RootError> {
    let mut text = String::from("# Written by swarm-drone for one attempt.\n");
    for (key, value) in settings::settings(root) {
        let before = if key == "FEATURES" { "${FEATURES} " } else { "" };
        let _ = writeln!(text, "{key}=\"{before}{value}\"");
    }
    if root.has_in_snapshot("distfiles") {
        let mirror = root.inside().snapshot.join("distfiles");
        let _ = writeln!(text, "GENTOO_MIRRORS=\"{} ${{GENTOO_MIRRORS}}\"", mirror.display());
    }
    put(&root.outside().etc.join("make.conf").join(OURS), &text)
}

/// Writes the USE flags that this attempt is about.
pub(super) fn write_use(root: &Root, entries: &[(String, Vec<String>)]) -> Result<(), RootError> {
    let mut text = String::from("# Written by swarm-drone for one attempt.\n");
    for (atom, flags) in entries.iter().filter(|(_, flags)| !flags.is_empty()) {
        let _ = writeln!(text, "{atom} {}", flags.join(" "));
    }
    put(&root.outside().etc.join("package.use").join(OURS), &text)
}

/// Portage takes a file or a directory of files; a directory can be added to.
fn as_directory(path: &Path) -> Result<(), RootError> {
    if path.is_dir() {
        return Ok(());
    }
    let aside = path.with_extension("bundle");
    let there = path.exists();
    if there {
        fs::rename(path, &aside).map_err(RootError::io("move", path))?;
    }
    make_dir(path)?;
    if there {
        fs::rename(&aside, path.join("00-bundle")).map_err(RootError::io("move", &aside))?;
    }
    Ok(())
}

fn put(path: &Path, text: &str) -> Result<(), RootError> {
    fs::write(path, text).map_err(RootError::io("write", path))
}

/// Copies a tree of files, directories and links.
fn copy(from: &Path, to: &Path) -> Result<(), RootError> {
    make_dir(to)?;
    for entry in fs::read_dir(from).map_err(RootError::io("read", from))? {
        let entry = entry.map_err(RootError::io("read", from))?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(RootError::io("read", from))?);
        let at: PathBuf = to.join(entry.file_name());
        if kind.is_dir() {
            copy(&path, &at)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).map_err(RootError::io("read", &path))?;
            symlink(target, &at).map_err(RootError::io("link", &at))?;
        } else {
            fs::copy(&path, &at).map_err(RootError::io("copy", &path))?;
        }
    }
    Ok(())
}
