//! Portage's configuration in a build root: the profile's bundle plus the drone's settings for paths,
//! packaging and safety.
//!
//! The drone's settings come last and so take precedence. They must not affect the content of
//! packages, or two drones would build different packages from the same snapshot.

use super::{Root, settings};
use crate::buildroot::{RootError, make_dir};
use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// Sorts after all other names in a configuration directory, so it is read last.
const OURS: &str = "zzzz-swarm";

pub(super) fn write(root: &Root) -> Result<(), RootError> {
    let etc = root.outside().etc.clone();
    let bundle = root.outside().snapshot.join("etc/portage");
    if bundle.exists() {
        copy(&bundle, &etc)?;
    }
    // These depend on the machine, so a snapshot must not contain them.
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

/// Creates the link to the Portage profile.
fn profile(root: &Root) -> Result<(), RootError> {
    let manifest = root.manifest();
    let path = manifest.profile_path();
    if !root.has_in_snapshot(&path) {
        return Err(RootError::Snapshot(format!("there is no Portage profile {path}")));
    }
    if manifest.portage_profile.is_none() {
        return Ok(()); // The bundle contains it.
    }
    let at = root.outside().etc.join("make.profile");
    // Use the repository's configured location: only there does Portage recognise the profile as part of the
    // repository and apply its `profile-formats`.
    let profile = root.inside().repositories.join(path.strip_prefix("repos/").unwrap_or(&path));
    symlink(profile, &at).map_err(RootError::io("link", at))
}

/// The content that replaces every `repos.conf`. Portage's own file names a repository that the snapshot does
/// not contain.
pub(super) fn repositories(root: &Root) -> String {
    let manifest = root.manifest();
    let mut text = format!("[DEFAULT]\nmain-repo = {}\n", manifest.main_repository);
    for repository in &manifest.repositories {
        let location = root.inside().repositories.join(&repository.name);
        // `volatile = no`: the content under this path never changes, so Portage may cache it.
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

/// Writes the drone's settings after those of the bundle. Portage also gets them from the environment, but
/// programs that it starts for packaging read only these files.
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

/// Writes the USE flags for this attempt.
pub(super) fn write_use(root: &Root, entries: &[(String, Vec<String>)]) -> Result<(), RootError> {
    let mut text = String::from("# Written by swarm-drone for one attempt.\n");
    for (atom, flags) in entries.iter().filter(|(_, flags)| !flags.is_empty()) {
        let _ = writeln!(text, "{atom} {}", flags.join(" "));
    }
    put(&root.outside().etc.join("package.use").join(OURS), &text)
}

/// Replaces a configuration file by a directory of files, which Portage also accepts, so that a file can be
/// added.
fn as_directory(path: &Path) -> Result<(), RootError> {
    if path.is_dir() {
        return Ok(());
    }
    let aside = path.with_extension("bundle");
    let there = path.symlink_metadata().is_ok();
    if there {
        // Copies the content: inside the directory, the relative target of a link would not be found, and
        // Portage ignores dangling links.
        fs::copy(path, &aside).map_err(RootError::io("read", path))?;
        fs::remove_file(path).map_err(RootError::io("remove", path))?;
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

/// Copies files, directories and symbolic links recursively.
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
