//! The Portage settings that belong to the drone: paths, packaging and resource limits.
//!
//! They come last in `make.conf` and are also set as environment variables, which override everything in a
//! bundle, including `package.env`. Variables of this kind that a bundle sets but the drone does not use are
//! set to the empty string, so that no setting of a workstation affects this machine.

use super::Root;
use crate::buildroot::RootError;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use swarm_formats::portage::settings::{FEATURES_OF_ROOT, FEATURES_OFF, FEATURES_ON, is_drones_own};

/// Larger files are not searched for settings, in bytes.
const LARGEST_FILE: u64 = 1 << 20;
/// Directories of a configuration that contain no settings.
const NO_SETTINGS: [&str; 2] = ["patches", "savedconfig"];

/// All settings. None affects the content of packages; otherwise two drones would build different packages
/// from the same snapshot.
pub(super) fn settings(root: &Root) -> BTreeMap<String, String> {
    let p = root.inside();
    let unwanted = root.unwanted().iter().map(|name| (name.clone(), String::new()));
    let mut all: BTreeMap<String, String> = unwanted.collect();
    let mut set = |key: &str, value: String| {
        all.insert(key.to_owned(), value);
    };
    set("FEATURES", features(root));
    set("DISTDIR", p.distfiles.display().to_string());
    set("PORTAGE_RO_DISTDIRS", p.shared_distfiles.display().to_string());
    set("PKGDIR", p.packages.display().to_string());
    set("PORTAGE_TMPDIR", p.tmp.display().to_string());
    set("PORTAGE_DEPCACHEDIR", p.depcache.display().to_string());
    set("MAKEOPTS", format!("-j{} -l{}", root.jobs(), root.config().load()));
    // Portage sets this for itself. The profile's value is for workstations.
    let niceness = rustix::process::getpriority_process(None).unwrap_or(0);
    set("PORTAGE_NICENESS", niceness.to_string());
    for (key, value) in [
        ("BINPKG_FORMAT", "gpkg"),
        ("BINPKG_COMPRESS", "zstd"),
        // Portage runs this program on a signed list of digests even if it does not verify signatures, and
        // not every base has gpg.
        ("BINPKG_GPG_VERIFY_BASE_COMMAND", "sed -n /^DATA/p"),
        ("PORTAGE_BINHOST", ""),
        ("PORTAGE_TRUST_HELPER", ""),
        ("PORTAGE_LOGDIR", ""),
        ("PORTAGE_ELOG_CLASSES", "log warn error"),
        ("PORTAGE_ELOG_SYSTEM", "echo"),
        ("EMERGE_DEFAULT_OPTS", ""),
        ("EMERGE_WARNING_DELAY", "0"),
        ("CLEAN_DELAY", "0"),
    ] {
        set(key, value.to_owned());
    }
    // Portage drops privileges to this user. It fails if the user does not exist, as on other distributions.
    if rustix::process::geteuid().is_root() {
        let user = if root.tree().has_user("portage") { "portage" } else { "root" };
        set("PORTAGE_USERNAME", user.to_owned());
        set("PORTAGE_GRPNAME", user.to_owned());
    }
    all
}

/// The drone's FEATURES, which come last and so take precedence.
fn features(root: &Root) -> String {
    let mut features: Vec<String> = FEATURES_OFF.iter().map(|name| format!("-{name}")).collect();
    let mut have = |names: &[&str]| features.extend(names.iter().map(ToString::to_string));
    // The orchestrator signs packages, and the drone has verified the digest of each file it downloaded.
    have(&FEATURES_ON);
    // Package files to be installed have no index beside them.
    have(&["-pkgdir-index-trusted"]);
    if root.is_thrown_away() {
        // These protect systems that persist.
        have(&["-merge-sync", "-merge-wait", "-parallel-install", "-protect-owned", "-collision-protect"]);
        // Programs of the base may need libraries that a new version no longer has.
        have(&["preserve-libs"]);
    }
    if root.tree().program("sandbox").is_none() {
        have(&["-sandbox", "-usersandbox"]);
    }
    if rustix::process::geteuid().is_root() {
        // Portage tries each of these and does without it if the kernel refuses.
        have(&FEATURES_OF_ROOT);
    }
    features.extend(root.config().extra_features.iter().cloned());
    features.join(" ")
}

/// All variables that belong to the drone and appear in any file of a bundle's configuration, whatever their
/// values.
pub(super) fn named_in(dir: &Path) -> Result<BTreeSet<String>, RootError> {
    let mut names = BTreeSet::new();
    let mut dirs: Vec<PathBuf> = dir.is_dir().then(|| dir.to_owned()).into_iter().collect();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).map_err(RootError::io("read", &dir))? {
            let path = entry.map_err(RootError::io("read", &dir))?.path();
            let meta = path.symlink_metadata().map_err(RootError::io("read", &path))?;
            if meta.is_dir() && !NO_SETTINGS.iter().any(|name| path.ends_with(name)) {
                dirs.push(path);
            } else if meta.is_file() && meta.len() <= LARGEST_FILE {
                let bytes = fs::read(&path).map_err(RootError::io("read", &path))?;
                let text = String::from_utf8_lossy(&bytes);
                let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                names.extend(words.filter(|word| is_drones_own(word)).map(str::to_owned));
            }
        }
    }
    Ok(names)
}
