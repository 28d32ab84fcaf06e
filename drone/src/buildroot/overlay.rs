//! A build root that is a whole machine: an overlay over a base root.
//!
//! Each program is started in a mount namespace of its own, in which the overlay is
//! mounted, and which the kernel takes away with its last process: there is nothing to
//! unmount, whoever was killed. What was written stays in the attempt's directory, so
//! that the next program finds it. The base root is only read.

use super::{RootError, make_dir, tree::Tree};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// Mounts and enters. Arguments: base root, the attempt's directory, paths to be seen
/// inside as they are outside, each before where that is inside without links (a link of
/// the base would lead out of it here), `--`, and the program with its arguments. 126 is what a
/// shell says of a program that cannot be run.
const ENTER: &str = r#"fail() { echo "!!! the overlay root cannot be made: $1" >&2; exit 126; }
base=$1 at=$2 in=$2/merged; shift 2
mount -t overlay overlay -o "lowerdir=$base,upperdir=$at/upper,workdir=$at/overlay" "$in" || fail "mount of $base"
for dir in /proc /sys /dev; do
  mkdir -p "$in$dir" && mount --rbind "$dir" "$in$dir" || fail "$dir"
done
if [ -e /etc/resolv.conf ]; then
  cp -L --remove-destination /etc/resolv.conf "$in/etc/resolv.conf" || fail "/etc/resolv.conf"
fi
while [ "$1" != -- ]; do
  mkdir -p "$in$2" && mount --bind "$1" "$in$2" || fail "$1"
  shift 2
done
shift
exec chroot "$in" "$@""#;

/// An overlay over `base`, whose changes are kept in the attempt's directory.
#[derive(Debug)]
pub struct Overlay {
    base: PathBuf,
    attempt: PathBuf,
    seen: Vec<(PathBuf, PathBuf)>,
}

impl Overlay {
    /// Makes its directories. `seen` are the paths that are the same inside.
    pub(super) fn make(
        base: &Path,
        tree: &Tree,
        attempt: &Path,
        seen: Vec<PathBuf>,
    ) -> Result<Self, RootError> {
        if !rustix::process::geteuid().is_root() {
            return Err(RootError::NotRoot);
        }
        for dir in ["upper", "overlay", "merged"] {
            make_dir(&attempt.join(dir))?;
        }
        let seen = seen.into_iter().map(|path| (tree.resolve(&path), path)).map(|(at, path)| (path, at));
        Ok(Self { base: base.to_owned(), attempt: attempt.to_owned(), seen: seen.collect() })
    }

    /// Where the changes are.
    pub(super) fn upper(&self) -> PathBuf {
        self.attempt.join("upper")
    }

    /// The command that runs `program` inside.
    #[must_use]
    pub fn command(&self, program: &Path, args: &[OsString]) -> (PathBuf, Vec<OsString>) {
        let fixed = ["--mount", "--propagation", "private", "--", "/bin/sh", "-c", ENTER, "sh"];
        let mut all: Vec<OsString> = fixed.map(OsString::from).to_vec();
        all.extend([self.base.clone().into(), self.attempt.clone().into()]);
        all.extend(self.seen.iter().flat_map(|(path, at)| [path.into(), at.into()]));
        all.push("--".into());
        all.push(program.into());
        all.extend_from_slice(args);
        ("/usr/bin/unshare".into(), all)
    }
}
