//! The file system of a build: an overlay over a base, with layers in between.
//!
//! Each program runs in its own mount namespace, in which the overlay is mounted. The kernel removes the
//! namespace with its last process, so nothing needs to be unmounted, even after a kill. Written files stay
//! in the attempt's directory for the next program. Base and layers are read-only.

use super::{RootError, make_dir, tree::Tree};
use crate::namespace;
use std::{
    ffi::OsString,
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
};

/// Maximum number of layers in an overlay; the kernel's limit is 500.
pub const MOST_LAYERS: usize = 480;

/// Shell script that mounts the root and enters it. Arguments: the attempt's directory, the base,
/// `nested` or an empty string, the names of the layers, overlay options, a command to run first,
/// then any number of `hide PATH`, `ro FROM TO`, `rw FROM TO` and `lay LAYERS TO REPOSITORIES`, `--`,
/// and the program with its arguments. Exits with [`NO_ROOT`] if the root cannot be made.
///
/// An overlay does not accept lower directories that contain one another. If the base is the drone's own `/`,
/// it contains the layers; then the base is first mounted as a separate overlay, which is not a parent of
/// their paths.
const ENTER: &str = r#"fail() { echo "!!! $1" >&2; exit 125; }
at=$1 base=$2 nested=$3 layers=$4 options=$5 refresh=$6 in=$1/merged; shift 6
# A page of options is all that old kernels take, and one option of the new calls is shorter still.
export LIBMOUNT_FORCE_MOUNT2=always
cd "$at/layers" || fail "$at/layers"
if [ -n "$nested" ]; then
  mount -t tmpfs -o mode=755 tmpfs "$at/below" && mkdir "$at/below/empty" "$at/below/base" &&
    mount -t overlay overlay -o "ro,$options,lowerdir=$at/below/empty:$base" "$at/below/base" || fail "mount of $base"
  base=$at/below/base
fi
mount -t overlay overlay -o "lowerdir=$layers$base,upperdir=$at/upper,workdir=$at/overlay,$options" "$in" ||
  fail "mount over $base"
cd / || fail /
for dir in /proc /sys /dev; do
  mkdir -p "$in$dir" && mount --rbind "$dir" "$in$dir" || fail "$dir"
done
if [ -e /etc/resolv.conf ]; then
  cp -L --remove-destination /etc/resolv.conf "$in/etc/resolv.conf" || fail "/etc/resolv.conf"
fi
while [ "$1" != -- ]; do
  case $1 in
  hide)
    if [ -d "$in$2" ]; then mount -t tmpfs -o mode=700,size=1m tmpfs "$in$2" || fail "hiding $2"; fi
    shift 2 ;;
  lay)
    mkdir -p "$in$3" "$in$4" && (cd "$at/layers" && mount -t overlay overlay -o "ro,$options,lowerdir=$2" "$in$3") &&
      mount --bind "$in$3/repos" "$in$4" || fail "the snapshot"
    shift 4 ;;
  *)
    mkdir -p "$in$3" && mount --bind "$2" "$in$3" || fail "$2"
    [ "$1" = rw ] || mount -o remount,bind,ro "$in$3" || fail "$2"
    shift 3 ;;
  esac
done
shift
# Only make 4.4 and newer knows a jobserver of this kind, and an older one would not even start.
if [ -n "$MAKEFLAGS" ]; then
  case $(MAKEFLAGS= chroot "$in" make --version 2>/dev/null) in
  "GNU Make 4."[4-9]* | "GNU Make 4."[1-9][0-9]* | "GNU Make "[5-9]* | "GNU Make "[1-9][0-9]*) ;;
  *) unset MAKEFLAGS ;;
  esac
fi
if [ -n "$refresh" ]; then chroot "$in" /bin/sh -c "$refresh" >/dev/null || fail "${refresh##* } failed in the base"; fi
exec chroot "$in" "$@""#;

/// Exit code of a program that was not started because its root cannot be made. No shell, Portage or
/// Nix program uses it.
pub(crate) const NO_ROOT: i32 = 125;

/// Every changed file must be complete in the upper directory, so that the directory can become a layer. In a
/// user namespace this is always the case.
const OPTIONS: &str = "redirect_dir=off,metacopy=off,index=off";

/// A bind mount of one of the drone's directories.
#[derive(Debug)]
pub(crate) struct Bind {
    pub from: PathBuf,
    pub to: PathBuf,
    pub writable: bool,
}

/// An overlay whose changes are kept in the attempt's directory.
#[derive(Debug)]
pub struct Stack {
    base: PathBuf,
    attempt: PathBuf,
    /// Names of the layers as an overlay option, each followed by a colon.
    layers: String,
    nested: bool,
    refresh: String,
    hidden: Vec<PathBuf>,
    binds: Vec<Bind>,
    /// The names of a snapshot's layers, and the mount points of the snapshot and its repositories.
    snapshot: Option<(String, [PathBuf; 2])>,
}

impl Stack {
    /// Creates the directories of the overlay. `layers` are ordered lowest first. `refresh` is a shell
    /// command that runs inside before each program.
    pub(crate) fn make(
        base: &Path,
        attempt: &Path,
        layers: &[PathBuf],
        refresh: String,
        hidden: Vec<PathBuf>,
        binds: Vec<Bind>,
    ) -> Result<Self, RootError> {
        if !rustix::process::geteuid().is_root() {
            return Err(RootError::NotRoot);
        }
        if !namespace::can_change(base).map_err(RootError::io("look at", base))? {
            return Err(RootError::NotOurs(base.to_owned()));
        }
        if layers.len() > MOST_LAYERS {
            return Err(RootError::TooManyLayers(layers.len()));
        }
        for dir in ["upper", "overlay", "merged", "below", "layers"] {
            make_dir(&attempt.join(dir))?;
        }
        let names = name(layers, attempt, "")?;
        // A layer on another file system is not inside the base, even if its path is.
        let disk =
            |path: &Path| fs::metadata(path).map(|found| found.dev()).map_err(RootError::io("look at", path));
        let base_disk = disk(base)?;
        let within = |layer: &PathBuf| Ok(layer.starts_with(base) && disk(layer)? == base_disk);
        let nested = layers.iter().map(within).collect::<Result<Vec<bool>, RootError>>()?.contains(&true);
        let attempt = attempt.to_owned();
        let (base, snapshot) = (base.to_owned(), None);
        Ok(Self { base, attempt, layers: names, nested, refresh, hidden, binds, snapshot })
    }

    /// Mounts a snapshot's layers, lowest first, at `to[0]` and its repositories at `to[1]`.
    pub(crate) fn lay_snapshot(&mut self, layers: &[PathBuf], to: [PathBuf; 2]) -> Result<(), RootError> {
        if !layers.is_empty() {
            let names = name(layers, &self.attempt, "snapshot")?;
            self.snapshot = Some((names.trim_end_matches(':').to_owned(), to));
        }
        Ok(())
    }

    /// The directory with the changes.
    pub(crate) fn upper(&self) -> PathBuf {
        self.attempt.join("upper")
    }

    /// Resolves links of the base in the mount points.
    pub(crate) fn resolve(binds: Vec<Bind>, tree: &Tree) -> Vec<Bind> {
        binds.into_iter().map(|bind| Bind { to: tree.resolve(&bind.to), ..bind }).collect()
    }

    /// Returns the command line that runs `program` inside.
    #[must_use]
    pub fn command(&self, program: &Path, args: &[OsString]) -> (PathBuf, Vec<OsString>) {
        let fixed = ["--mount", "--propagation", "private", "--", "/bin/sh", "-c", ENTER, "sh"];
        let mut all: Vec<OsString> = fixed.map(OsString::from).to_vec();
        all.extend([self.attempt.clone().into(), self.base.clone().into()]);
        let nested = if self.nested { "nested" } else { "" };
        // The machine's root stores overlay metadata in `trusted.*` attributes; a user namespace can only use
        // `user.*`.
        let options = if namespace::is_entered() { "userxattr" } else { OPTIONS };
        all.extend([nested, &self.layers, options, &self.refresh].map(OsString::from));
        for path in &self.hidden {
            all.extend(["hide".into(), path.into()]);
        }
        if let Some((layers, [to, repositories])) = &self.snapshot {
            all.extend(["lay".into(), layers.into(), to.into(), repositories.into()]);
        }
        for bind in &self.binds {
            let kind = if bind.writable { "rw" } else { "ro" };
            all.extend([kind.into(), (&bind.from).into(), (&bind.to).into()]);
        }
        all.push("--".into());
        all.push(program.into());
        all.extend_from_slice(args);
        ("/usr/bin/unshare".into(), all)
    }
}

/// Creates links to the layers with names short enough for the kernel's limit on mount options. Returns the
/// names, uppermost first.
fn name(layers: &[PathBuf], attempt: &Path, kind: &str) -> Result<String, RootError> {
    let mut names = String::new();
    for (number, layer) in layers.iter().enumerate().rev() {
        let name = format!("{kind}{number}");
        let at = attempt.join("layers").join(&name);
        symlink(layer, &at).map_err(RootError::io("link", at))?;
        names.push_str(&format!("{name}:"));
    }
    Ok(names)
}
