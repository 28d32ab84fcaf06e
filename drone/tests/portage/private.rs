//! Support for tests that mount: each one re-executes itself in a new mount namespace, so that nothing is
//! left on this machine however the test ends.

use crate::lab::{portage, workspace};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Environment variables with the name of the test that runs inside, and the prepared directory.
const INSIDE: &str = "SWARM_TEST_INSIDE";
const PLACE: &str = "SWARM_TEST_PLACE";

/// Creates `$place/base`, a tree like an unpacked stage3, from this machine's root, with its own
/// Portage in `/usr`. This machine's Portage is hidden in it, and `gtar`, the users, a `sandbox` and
/// a marker file exist only there.
pub const BASE: &str = r#"
mkdir -p "$place/base" "$place/base.upper" "$place/base.work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$place/base.upper,workdir=$place/base.work" "$place/base"
base=$place/base site=$(/usr/bin/python3 -c 'import site; print(site.getsitepackages()[0])')
mkdir -p "$base$site"
cp -a "$portage"/lib/python3*/site-packages/{portage,_emerge} "$portage"/lib/python3*/site-packages/portage-*.dist-info "$base$site/"
mkdir -p "$base/usr/lib/portage" && cp -r "$portage/lib/portage/." "$base/usr/lib/portage/"
cp -r "$portage/share/portage" "$base/usr/share/portage"
for program in emerge ebuild emaint portageq; do
	sed '1s|.*|#!/usr/bin/python3|' "$portage/bin/$program" >"$base/usr/bin/$program"
	chmod 755 "$base/usr/bin/$program"
done
# This Portage was made for a Python environment, and looks for its defaults below the prefix.
[ -e "$base/share" ] || ln -s usr/share "$base/share"
rm -rf "$base$portage"
ln -sf tar "$base/usr/bin/gtar"
ln -sf /usr/bin/python3 "$base/usr/bin/python"
echo 'portage:x:250:250:portage:/var/lib/portage/home:/bin/false' >>"$base/etc/passwd"
echo 'portage:x:250:' >>"$base/etc/group"
printf '#!/bin/bash\nexport SANDBOX_OF_THE_BASE=1\nexec /bin/bash -c "$*"\n' >"$base/usr/bin/sandbox"
chmod 755 "$base/usr/bin/sandbox"
echo '#define ONLY_IN_BASE 1' >"$base/usr/include/only-in-base.h"
"#;

/// Enters `$place/base` as if it were a machine, whose `/` disappears with the test.
pub const ENTER: &str = r#"
for dir in /proc /sys /dev; do mount --rbind "$dir" "$place/base$dir"; done
# Before what may lie below it.
mkdir -p "$place/base/tmp" && mount -t tmpfs -o mode=1777 tmpfs "$place/base/tmp"
for dir in "$workspace" "$(dirname "$1")"; do
	mkdir -p "$place/base$dir" && mount --bind "$dir" "$place/base$dir"
done
set -- chroot "$place/base" "$@"
"#;

/// Runs `body` in its own mount namespace after the shell commands `prepare`. `name` is the test's name with
/// its module. Outside the namespace, this only re-executes the test.
pub async fn within(name: &str, prepare: &str, body: impl AsyncFnOnce(PathBuf)) {
    if std::env::var(INSIDE).is_ok_and(|inside| inside == name) {
        return body(std::env::var_os(PLACE).unwrap().into()).await;
    }
    assert!(rustix::process::geteuid().is_root(), "only root can mount: run the tests as root");
    let place = tempfile::tempdir().unwrap();
    let script = format!("set -e; place=$1 portage=$2 workspace=$3; shift 3\n{prepare}\nexec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--", "/bin/bash", "-c", &script, "bash"]);
    command.arg(place.path()).arg(portage()).arg(workspace());
    rerun(command, name, place.path());
}

/// Runs the test again through `command`.
pub fn rerun(mut command: Command, name: &str, place: &Path) {
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
    command.env(INSIDE, name).env(PLACE, place).env("SWARM_PORTAGE", portage());
    let ran = command.output().expect("unshare and setpriv are part of util-linux; install it");
    let output = [ran.stdout, ran.stderr].concat();
    let output = String::from_utf8_lossy(&output);
    assert!(ran.status.success() && output.contains("1 passed"), "{name}: {}\n{output}", ran.status);
}
