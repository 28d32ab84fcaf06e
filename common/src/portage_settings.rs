//! Which of Portage's settings are a drone's own. A bundle says what is in packages; how
//! and where a drone makes them is the drone's affair, whatever a bundle says. The rule
//! is applied by the drone and explained by `swarmctl`, so both have it from here.

/// Variables that are a drone's own: jobs and priority, directories, logs, packaging,
/// signing, questions.
const VARIABLES: [&str; 17] = [
    "AUTOCLEAN",
    "CLEAN_DELAY",
    "DISTDIR",
    "GNUMAKEFLAGS",
    "MAKEFLAGS",
    "MAKEOPTS",
    "NINJAOPTS",
    "PKGDIR",
    "PORTAGE_DEPCACHEDIR",
    "PORTAGE_GRPNAME",
    "PORTAGE_IONICE_COMMAND",
    "PORTAGE_NICENESS",
    "PORTAGE_RO_DISTDIRS",
    "PORTAGE_TMPDIR",
    "PORTAGE_TRUST_HELPER",
    "PORTAGE_USERNAME",
    "RPMDIR",
];
/// So is every variable that begins so.
const PREFIXES: [&str; 14] = [
    "BINPKG_",
    "CCACHE_",
    "DISTCC_",
    "EMERGE_",
    "ICECC_",
    "PORTAGE_BINHOST",
    "PORTAGE_BINPKG_",
    "PORTAGE_CHECKSUM_FILTER",
    "PORTAGE_ELOG_",
    "PORTAGE_GPG_",
    "PORTAGE_LOG",
    "PORTAGE_SCHEDULING_",
    "PORT_LOGDIR",
    "SCCACHE_",
];

/// FEATURES that a drone never has, because they act on the machine, ask, or make another
/// kind of package file.
pub const FEATURES_OFF: [&str; 34] = [
    "binpkg-logs",
    "binpkg-request-signature",
    "binpkg-signing",
    "buildpkg",
    "buildpkg-live",
    "buildpkg-proactive",
    "buildsyspkg",
    "candy",
    "ccache",
    "cgroup",
    "clean-logs",
    "compress-build-logs",
    "digest",
    "distcc",
    "downgrade-backup",
    "fail-clean",
    "getbinpkg",
    "gpg-keepalive",
    "icecream",
    "jobserver-token",
    "keeptemp",
    "keepwork",
    "lmirror",
    "mirror",
    "news",
    "noauto",
    "noclean",
    "notitles",
    "observability",
    "parallel-fetch",
    "sign",
    "split-elog",
    "split-log",
    "unmerge-backup",
];
/// FEATURES that a drone always has.
pub const FEATURES_ON: [&str; 2] = ["binpkg-ignore-signature", "binpkg-multi-instance"];
/// FEATURES that a drone with the rights for it always has.
pub const FEATURES_OF_ROOT: [&str; 4] = ["ipc-sandbox", "mount-sandbox", "network-sandbox", "pid-sandbox"];

/// Whether a bundle's setting of this variable has no effect on drones.
#[must_use]
pub fn is_drones_own(variable: &str) -> bool {
    VARIABLES.contains(&variable) || PREFIXES.iter().any(|prefix| variable.starts_with(prefix))
}

/// Whether a word of a bundle's FEATURES has no effect on drones.
#[must_use]
pub fn is_feature_without_effect(word: &str) -> bool {
    match word.strip_prefix('-') {
        Some(off) => FEATURES_ON.contains(&off) || FEATURES_OF_ROOT.contains(&off),
        None => FEATURES_OFF.contains(&word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_packages_are_made_is_the_drones_and_what_is_in_them_the_bundles() {
        for own in ["MAKEOPTS", "BINPKG_COMPRESS_FLAGS_XZ", "PORTAGE_LOG_FILTER_FILE_CMD", "CCACHE_DIR"] {
            assert!(is_drones_own(own), "{own}");
        }
        for bundles in ["CFLAGS", "USE", "FEATURES", "PORTAGE_COMPRESS", "INSTALL_MASK", "GENTOO_MIRRORS"] {
            assert!(!is_drones_own(bundles), "{bundles}");
        }
        for without in ["ccache", "buildpkg", "-network-sandbox", "-binpkg-multi-instance"] {
            assert!(is_feature_without_effect(without), "{without}");
        }
        for with in ["splitdebug", "test", "-ccache", "network-sandbox", "nodoc"] {
            assert!(!is_feature_without_effect(with), "{with}");
        }
    }
}
