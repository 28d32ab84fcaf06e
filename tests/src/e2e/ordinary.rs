//! A drone run by an ordinary user, whose only privilege is subordinate IDs.

use super::{programs::program, swarm::Swarm};
use anyhow::{Context, Result};
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    process::Command,
};

/// The user's ID and name. Neither exists on this machine.
const USER: u32 = 64_242;
/// Adds the user to the machine in a mount namespace, and becomes that user.
const BECOME: &str = r#"set -e; at=$1; shift
[ -e /etc/subuid ] || : >/etc/subuid; [ -e /etc/subgid ] || : >/etc/subgid
cp /etc/passwd /etc/subuid /etc/subgid "$at"
echo "ordinary:x:64242:64242::/nonexistent:/bin/false" >>"$at/passwd"
for file in subuid subgid; do echo ordinary:3000000:65536 >>"$at/$file"; done
for file in passwd subuid subgid; do mount --bind "$at/$file" "/etc/$file"; done
exec setpriv --reuid=64242 --regid=64242 --clear-groups -- "$@""#;

impl Swarm {
    /// Enrols a drone that runs as an ordinary user, and waits until it is online.
    ///
    /// # Errors
    /// It does not come online.
    pub fn enrol_ordinary(&mut self, name: &str) -> Result<()> {
        self.configure(name, "")?;
        let home = self.path(name);
        fs::create_dir(&home)?;
        // A copy that the user can reach, wherever this repository is.
        let drone = home.join("swarm-drone");
        fs::copy(program("swarm-drone")?, &drone)?;
        fs::set_permissions(self.path(""), fs::Permissions::from_mode(0o755))?;
        for file in [home.clone(), self.path(&format!("{name}.toml")), self.path(&format!("{name}.token"))] {
            chown(&file, Some(USER), Some(USER)).with_context(|| file.display().to_string())?;
        }
        let users = self.path("users");
        fs::create_dir(&users)?;
        Command::new("newuidmap").output().context("newuidmap is missing; install uidmap")?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--", "sh", "-c", BECOME, "sh"]);
        command.arg(users).arg(drone).arg("--config").arg(self.path(&format!("{name}.toml")));
        self.launch(name, command)
    }
}
