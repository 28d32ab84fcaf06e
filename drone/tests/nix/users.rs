//! A drone run by an ordinary user, as root of a user namespace.

use crate::lab::{Lab, package};
use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};
use swarm_drone::builder::BuildEnd;

/// Set inside the namespace.
const INSIDE: &str = "SWARM_TEST_INSIDE";

/// Runs a program as `nobody` with subordinate IDs, in a user namespace like that of a drone.
const AS_USER: &str = r#"set -e
at=$1; shift
for file in subuid subgid; do
	[ -e /etc/$file ] || : >/etc/$file
	echo 65534:3000000:65536 >"$at/$file"
	mount --bind "$at/$file" /etc/$file
done
exec setpriv --reuid=65534 --regid=65534 --clear-groups -- unshare --user --map-root-user --map-auto -- "$@""#;

#[tokio::test]
async fn an_ordinary_user_plans_and_builds() {
    if std::env::var_os(INSIDE).is_none() {
        assert!(rustix::process::geteuid().is_root(), "only root can become another user");
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
        // Other users may not have access to the build directory.
        let test = place.path().join("test");
        fs::copy(std::env::current_exe().unwrap(), &test).unwrap();
        let ran = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--", "/bin/sh", "-c", AS_USER, "sh"])
            .arg(place.path())
            .arg(test)
            .args(["users::an_ordinary_user_plans_and_builds", "--exact", "--nocapture"])
            .env(INSIDE, "yes")
            .env("TMPDIR", place.path())
            .current_dir("/")
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success() && output.contains("1 passed"), "{output}");
        return;
    }
    let lab = Lab::new(&["lib", "password"]);
    let plan = lab.plan().await;
    assert!(plan.problems[0].message.contains("forbidden"), "{:?}", plan.problems);
    let (end, log, _) = lab.build(package(&plan, "lib-1.0"), Vec::new()).await;
    assert!(matches!(end, BuildEnd::Built { .. }), "{end:?}\n{log}");
}
