//! A drone of an ordinary user: root of a user namespace, where the users of a build root are
//! numbers that `/etc/subuid` and `/etc/subgid` gave to that user.
//!
//! There it may mount overlays and give files to whom it likes, so packages say the right owners.
//! What it may not is change a system that root of the machine owns: it builds in images, which it
//! unpacks itself, and not in the machine's own `/`.

use std::{
    convert::Infallible,
    fs, io,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
};

/// Takes the user's own number for root, and the subordinate ones for all others.
const UNSHARE: [&str; 4] = ["--user", "--map-root-user", "--map-auto", "--"];
/// Numbers that a root file system may need: all up to `nobody`.
const NEEDED: u64 = 65_535;
/// Who owns what belongs to nobody in this namespace, where the kernel's default was not changed.
const UNMAPPED: u32 = 65_534;

/// Starts this program again in a user namespace of its own. Returns only if that cannot be.
///
/// # Errors
/// What is lacking, and how to get it.
pub fn enter() -> Result<Infallible, String> {
    let lacks = |what: String| {
        format!(
            "the drone runs as an ordinary user, and so takes a user namespace with subordinate ids: {what}. Give the \
             user some with `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`, install newuidmap \
             (Debian: uidmap, Gentoo: sys-apps/shadow), or run the drone as root"
        )
    };
    let tried = Command::new("unshare").args(UNSHARE).args(["cat", "/proc/self/uid_map"]).output();
    let tried = tried.map_err(|error| lacks(format!("unshare: {error}")))?;
    if !tried.status.success() {
        let said = String::from_utf8_lossy(&tried.stderr);
        return Err(lacks(said.lines().next().unwrap_or("unshare says nothing").trim().to_owned()));
    }
    let mapped = mapped(&String::from_utf8_lossy(&tried.stdout));
    if mapped < NEEDED {
        return Err(lacks(format!("it has {mapped} of the {NEEDED} that a root file system needs")));
    }
    let own = std::env::current_exe().map_err(|error| format!("this program is not to be found: {error}"))?;
    let error = Command::new("unshare")
        .args(UNSHARE)
        .arg(own)
        .args(std::env::args_os().skip(1))
        .stdin(Stdio::null())
        .exec();
    Err(lacks(format!("unshare: {error}")))
}

/// Whether this process is in a user namespace other than the machine's.
#[must_use]
pub fn is_entered() -> bool {
    // Without the file there are no user namespaces.
    fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| mapped(&map) < u64::from(u32::MAX))
}

/// Whether a root file system can be built in: whether its owner is somebody here.
///
/// # Errors
/// It is not there.
pub fn can_change(base: &Path) -> io::Result<bool> {
    Ok(!is_entered() || fs::metadata(base)?.uid() != UNMAPPED)
}

/// How many numbers a `uid_map` maps (user_namespaces(7)).
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
