//! A small root file system with a compiler and its own Portage, similar to a stage3, made from the Debian
//! packages installed on this machine.

use super::{programs::portage, workstation::text};
use anyhow::{Result, ensure};
use std::{path::Path, process::Command};

/// Copies the files of some packages and of everything that they depend on.
const MAKE: &str = r##"set -euo pipefail
root=$1
packages="bash dash coreutils sed grep findutils tar gzip xz-utils bzip2 zstd mawk patch diffutils file util-linux mount make gcc libc6-dev python3 pax-utils"
wanted=" " queue=$packages
while [ -n "$queue" ]; do
	found=$(dpkg-query -W -f '${binary:Package}\n${Pre-Depends}, ${Depends}\n' $queue 2>/dev/null || true)
	wanted="$wanted$queue "
	queue=
	for name in $(echo "$found" | tr ',|' '\n\n' | sed 's/^ *//; s/[ (].*//' | sort -u); do
		case $wanted in *" $name "*) ;; *) queue="$queue $name" wanted="$wanted$name " ;; esac
	done
done
mkdir -p "$root"/{etc,dev,proc,sys,run,tmp,root,home,var/{cache,lib,log,tmp},usr/{bin,sbin,lib,lib64}}
chmod 1777 "$root/tmp" "$root/var/tmp"
for dir in bin sbin lib lib64; do ln -s "usr/$dir" "$root/$dir"; done
{ dpkg-query -L $wanted 2>/dev/null || true; find /usr/bin -lname '/etc/alternatives/*'; find /etc/alternatives; } |
	sed -E 's#^/(bin|sbin|lib|lib64)/#/usr/\1/#' | sort -u |
	grep -vE '^/usr/share/(doc|man|locale|info|lintian|bash-completion|i18n)/|^/(bin|sbin|lib|lib64|\.)?$' |
	sed 's#^/##' | tar -C / --no-recursion --ignore-failed-read -cf - -T - 2>/dev/null | tar -C "$root" -xpf - 
printf '%s\n' root:x:0:0::/root:/bin/bash portage:x:250:250::/var/tmp:/bin/false nobody:x:65534:65534::/:/bin/false >"$root/etc/passwd"
printf '%s\n' root:x:0: tty:x:5: portage:x:250: nogroup:x:65534: >"$root/etc/group"
ldconfig -r "$root"
# Debian makes these when it installs Python. Without them, each start of Portage would compile its imports.
/usr/bin/python3 -m compileall -q -s "$root" -p / "$root"/usr/lib/python3*
"##;

/// Copies the Portage that `scripts/portage` installs into /usr of a root.
const INSTALL_PORTAGE: &str = r##"set -euo pipefail
root=$1 portage=$2
site=$(/usr/bin/python3 -c 'import site; print(site.getsitepackages()[0])')
mkdir -p "$root$site" "$root/usr/lib/portage"
cp -a "$portage"/lib/python3*/site-packages/{portage,_emerge} "$portage"/lib/python3*/site-packages/portage-*.dist-info "$root$site/"
cp -r "$portage/lib/portage/." "$root/usr/lib/portage/"
cp -r "$portage/share/portage" "$root/usr/share/portage"
ln -s usr/share "$root/share"
for program in emerge ebuild emaint env-update portageq; do
	sed '1s|.*|#!/usr/bin/python3|' "$portage/bin/$program" >"$root/usr/bin/$program"
	chmod 755 "$root/usr/bin/$program"
done
ln -sf tar "$root/usr/bin/gtar"
"##;

/// Creates it at `root`, which must not exist. Requires root privileges and Debian.
///
/// # Errors
/// It cannot be created.
pub fn small_root(root: &Path) -> Result<()> {
    bash(Command::new("bash").args(["-c", MAKE, "bash"]).arg(root))?;
    install_portage(root)
}

/// Installs Portage into a root that has Python.
///
/// # Errors
/// It cannot be installed.
pub fn install_portage(root: &Path) -> Result<()> {
    bash(Command::new("bash").args(["-c", INSTALL_PORTAGE, "bash"]).arg(root).arg(portage()?))
}

fn bash(command: &mut Command) -> Result<()> {
    let made = command.output()?;
    ensure!(made.status.success(), "{}", text(&made));
    Ok(())
}
