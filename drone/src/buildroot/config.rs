//! The configuration that Portage reads in a build root: the profile's bundle, and after
//! it what the drone has to say about places, packaging and safety.
//!
//! The bundle comes first and the drone's settings last, so that the drone wins where
//! both speak. Nothing here changes what is in a package: that is the bundle's business
//! alone, or two drones would build different packages from one snapshot.

use super::{Root, RootError, make_dir};
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
    if !root.outside().snapshot.join(&path).is_dir() {
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

/// Writes the settings that follow the bundle's `make.conf`.
fn write_settings(root: &Root) -> Result<(), RootError> {
    let p = root.inside();
    let mut text = String::from("# Written by swarm-drone for one attempt.\n");
    let mut set = |key: &str, value: &str| {
        let _ = writeln!(text, "{key}=\"{value}\"");
    };
    set("FEATURES", &format!("${{FEATURES}} {}", features(root)));
    set("DISTDIR", &p.distfiles.display().to_string());
    set("PORTAGE_RO_DISTDIRS", &p.shared_distfiles.display().to_string());
    set("PKGDIR", &p.packages.display().to_string());
    set("PORTAGE_TMPDIR", &p.tmp.display().to_string());
    set("PORTAGE_DEPCACHEDIR", &p.depcache.display().to_string());
    set("MAKEOPTS", &format!("-j{} -l{}", root.jobs(), root.config().load()));
    set("BINPKG_FORMAT", "gpkg");
    set("BINPKG_COMPRESS", "zstd");
    set("PORTAGE_BINHOST", "");
    set("PORTAGE_TRUST_HELPER", "");
    set("PORTAGE_ELOG_SYSTEM", "echo");
    set("EMERGE_DEFAULT_OPTS", "");
    set("EMERGE_WARNING_DELAY", "0");
    set("CLEAN_DELAY", "0");
    if root.outside().snapshot.join("distfiles").is_dir() {
        let mirror = p.snapshot.join("distfiles");
        set("GENTOO_MIRRORS", &format!("{} ${{GENTOO_MIRRORS}}", mirror.display()));
    }
    // Portage drops root's rights to a user of this name; where there is none (anywhere
    // but on Gentoo) it would fail.
    if rustix::process::geteuid().is_root() && !root.tree().has_user("portage") {
        set("PORTAGE_USERNAME", "root");
        set("PORTAGE_GRPNAME", "root");
    }
    put(&root.outside().etc.join("make.conf").join(OURS), &text)
}

/// FEATURES of ours. None of them changes what is in a package.
fn features(root: &Root) -> String {
    let mut features = vec![
        "binpkg-multi-instance",
        "-news",
        // The orchestrator signs, and the drone has checked each file's digest when it was fetched.
        "-binpkg-signing",
        "-binpkg-request-signature",
        "binpkg-ignore-signature",
        // What Portage installs is put beside no index.
        "-pkgdir-index-trusted",
        "-getbinpkg",
        "-buildpkg",
        "-buildsyspkg",
    ];
    if root.is_thrown_away() {
        // Care for what a system has and keeps.
        features.extend([
            "-merge-sync",
            "-merge-wait",
            "-parallel-install",
            "-protect-owned",
            "-collision-protect",
            "-preserve-libs",
        ]);
    }
    if root.tree().program("sandbox").is_none() {
        features.extend(["-sandbox", "-usersandbox"]);
    }
    if rustix::process::geteuid().is_root() {
        // Portage tries each and goes without where the kernel refuses.
        features.extend(["network-sandbox", "ipc-sandbox", "pid-sandbox", "mount-sandbox"]);
    }
    features.extend(root.config().extra_features.iter().map(String::as_str));
    features.join(" ")
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
