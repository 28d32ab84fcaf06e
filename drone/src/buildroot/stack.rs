//! A whole machine to build in: an overlay over a base, with layers between.
//!
//! Each program is started in a mount namespace of its own, in which the overlay is mounted, and
//! which the kernel takes away with its last process: there is nothing to unmount, whoever was
//! killed. What was written stays in the attempt's directory, so that the next program finds
//! it. Base and layers are only read.

use super::{RootError, make_dir, tree::Tree};
use crate::namespace;
use std::{
    ffi::OsString,
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
};

/// The most layers of one overlay; the kernel takes 500.
pub const MOST_LAYERS: usize = 480;

/// Mounts and enters. Arguments: the attempt's directory, the base, `nested` or nothing, the
/// names of the layers, the options of overlays, what to run before, then any number of `hide PATH`,
/// `ro FROM TO`, `rw FROM TO` and `lay LAYERS TO REPOSITORIES`, `--`, and the program with its arguments. 126
/// is what a shell says of a program that cannot be run.
///
/// An overlay takes no layers that lie within one another, as the drone's do within its own `/`:
/// then the base is an overlay of its own first, which lies within nothing.
const ENTER: &str = r#"fail() { echo "!!! the build root cannot be made: $1" >&2; exit 126; }
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
if [ -n "$refresh" ]; then chroot "$in" /bin/sh -c "$refresh" >/dev/null || fail "$refresh"; fi
exec chroot "$in" "$@""#;

/// What is changed is a whole file, so that it makes a layer. For others than the machine's root
/// it is never anything else.
const OPTIONS: &str = "redirect_dir=off,metacopy=off,index=off";

/// Something of the drone's that is seen inside.
#[derive(Debug)]
pub(super) struct Bind {
    pub from: PathBuf,
    pub to: PathBuf,
    pub writable: bool,
}

/// An overlay whose changes are kept in the attempt's directory.
#[derive(Debug)]
pub struct Stack {
    base: PathBuf,
    attempt: PathBuf,
    /// Names of the layers, as the kernel takes them.
    layers: String,
    nested: bool,
    refresh: String,
    hidden: Vec<PathBuf>,
    binds: Vec<Bind>,
    /// The names of a snapshot's layers, and where it and its repositories are seen.
    snapshot: Option<(String, [PathBuf; 2])>,
}

impl Stack {
    /// Makes its directories. Of `layers` the last lies uppermost. `refresh` is a line of shell
    /// that is run inside before each program.
    pub(super) fn make(
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
        // On another file system nothing lies within the base, whatever its path says.
        let disk =
            |path: &Path| fs::metadata(path).map(|found| found.dev()).map_err(RootError::io("look at", path));
        let base_disk = disk(base)?;
        let within = |layer: &PathBuf| Ok(layer.starts_with(base) && disk(layer)? == base_disk);
        let nested = layers.iter().map(within).collect::<Result<Vec<bool>, RootError>>()?.contains(&true);
        let attempt = attempt.to_owned();
        let (base, snapshot) = (base.to_owned(), None);
        Ok(Self { base, attempt, layers: names, nested, refresh, hidden, binds, snapshot })
    }

    /// Lays a snapshot's directories over one another, the lowest first, to be seen at `to`, and
    /// its repositories at the other path.
    pub(super) fn lay_snapshot(&mut self, layers: &[PathBuf], to: [PathBuf; 2]) -> Result<(), RootError> {
        if !layers.is_empty() {
            let names = name(layers, &self.attempt, "snapshot")?;
            self.snapshot = Some((names.trim_end_matches(':').to_owned(), to));
        }
        Ok(())
    }

    /// Where the changes are.
    pub(super) fn upper(&self) -> PathBuf {
        self.attempt.join("upper")
    }

    /// Tells where things are inside once links of the base are followed.
    pub(super) fn resolve(binds: Vec<Bind>, tree: &Tree) -> Vec<Bind> {
        binds.into_iter().map(|bind| Bind { to: tree.resolve(&bind.to), ..bind }).collect()
    }

    /// The command that runs `program` inside.
    #[must_use]
    pub fn command(&self, program: &Path, args: &[OsString]) -> (PathBuf, Vec<OsString>) {
        let fixed = ["--mount", "--propagation", "private", "--", "/bin/sh", "-c", ENTER, "sh"];
        let mut all: Vec<OsString> = fixed.map(OsString::from).to_vec();
        all.extend([self.attempt.clone().into(), self.base.clone().into()]);
        let nested = if self.nested { "nested" } else { "" };
        // What an overlay notes beside files is the machine's root's to write, or any user's.
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

/// Gives layers names that are short enough for the kernel, and lists these, the uppermost first.
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
