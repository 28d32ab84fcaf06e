//! Runs the drone of an ordinary user as root of a user namespace, in which the users of a build root are the
//! user's subordinate IDs from `/etc/subuid` and `/etc/subgid`.
//!
//! There the drone may mount overlays and change file owners, so files in packages get the right owners. It
//! cannot change files owned by the machine's root, so it builds only in images, which it unpacks itself, and
//! not in the machine's own `/`.

use std::{
    convert::Infallible,
    fs, io,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
};

/// Maps the user's own ID to root, and the subordinate IDs to all others.
const UNSHARE: [&str; 4] = ["--user", "--map-root-user", "--map-auto", "--"];
/// Number of IDs that a root file system may need: all up to `nobody`.
const NEEDED: u64 = 65_535;
/// The kernel's default owner for unmapped IDs (`/proc/sys/kernel/overflowuid`).
const UNMAPPED: u32 = 65_534;

/// Re-executes this program in a new user namespace. Returns only on failure.
///
/// # Errors
/// The namespace cannot be entered; the message says what is missing and how to provide it.
pub fn enter() -> Result<Infallible, String> {
    let lacks = |what: String| {
        format!(
            "the drone runs without root and needs a user namespace with subordinate IDs: {what}. Assign \
             some with `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`, install \
             newuidmap (Debian: uidmap, Gentoo: sys-apps/shadow), or run the drone as root"
        )
    };
    let tried = Command::new("unshare").args(UNSHARE).args(["cat", "/proc/self/uid_map"]).output();
    let tried = tried.map_err(|error| lacks(format!("unshare: {error}")))?;
    if !tried.status.success() {
        let stderr = String::from_utf8_lossy(&tried.stderr);
        return Err(lacks(stderr.lines().next().unwrap_or("unshare printed nothing").trim().to_owned()));
    }
    let mapped = mapped(&String::from_utf8_lossy(&tried.stdout));
    if mapped < NEEDED {
        return Err(lacks(format!("it has {mapped} of the {NEEDED} IDs that a root file system needs")));
    }
    let own = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let error = Command::new("unshare")
        .args(UNSHARE)
        .arg(own)
        .args(std::env::args_os().skip(1))
        .stdin(Stdio::null())
        .exec();
    Err(lacks(format!("unshare: {error}")))
}

/// Whether this process is in a user namespace other than the initial one.
#[must_use]
pub fn is_entered() -> bool {
    // Without this file, the kernel has no user namespaces.
    fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| mapped(&map) < u64::from(u32::MAX))
}

/// Whether the owner of a root file system is mapped here, so that builds can change it.
///
/// # Errors
/// The directory does not exist.
pub fn can_change(base: &Path) -> io::Result<bool> {
    Ok(!is_entered() || fs::metadata(base)?.uid() != UNMAPPED)
}

/// The number of IDs that a `uid_map` maps (see user_namespaces(7)).
fn mapped(map: &str) -> u64 {
    map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_map_are_summed() {
        assert_eq!(mapped("         0          0 4294967295\n"), u64::from(u32::MAX));
        assert_eq!(mapped("         0       1000          1\n         1     100000      65536\n"), 65_537);
        assert_eq!(mapped(""), 0);
    }
}
