//! Which Portage settings belong to the drone. A bundle determines the content of packages. How and where a
//! drone builds them is up to the drone, whatever the bundle says. The drone applies this rule, and
//! `swarmctl` explains it.

/// Variables that belong to the drone: jobs and priority, directories, logs, packaging, signing and prompts.
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
/// Prefixes of further variables that belong to the drone.
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

/// FEATURES that are always off on a drone, because they affect the machine, ask questions, or produce
/// another kind of package file.
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
/// FEATURES that are always on on a drone.
pub const FEATURES_ON: [&str; 2] = ["binpkg-ignore-signature", "binpkg-multi-instance"];
/// FEATURES that are always on if the drone has the privileges for them.
pub const FEATURES_OF_ROOT: [&str; 4] = ["ipc-sandbox", "mount-sandbox", "network-sandbox", "pid-sandbox"];

/// Whether drones ignore this variable of a bundle.
#[must_use]
pub fn is_drones_own(variable: &str) -> bool {
    VARIABLES.contains(&variable) || PREFIXES.iter().any(|prefix| variable.starts_with(prefix))
}

/// Whether drones ignore this word in a bundle's FEATURES.
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
