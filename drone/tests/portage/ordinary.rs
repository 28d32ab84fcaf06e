//! A drone started by an ordinary user reports missing privileges at startup.

use crate::{lab::Lab, private::rerun};
use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

#[tokio::test]
async fn an_ordinary_user_is_told_what_build_roots_take() {
    let name = "ordinary::an_ordinary_user_is_told_what_build_roots_take";
    if rustix::process::geteuid().is_root() {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut nobody = Command::new("setpriv");
        nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        return rerun(nobody, name, place.path());
    }
    let lab = Lab::new();
    let live = "root_kind = \"live\"\nlive_changes_this_machine = true";
    for (kind, advice) in [("", "usermod --add-subuids"), (live, "run the drone as root")] {
        let config = lab.dir.path().join("drone.toml");
        let at = |name: &str| lab.dir.path().join(name).display().to_string();
        let text = format!(
            "orchestrators = [\"http://127.0.0.1:9\"]\nstate_dir = \"{}\"\ncache_dir = \"{}\"\n\
             [builder]\nwork_dir = \"{}\"\ncache_dir = \"{}\"\n{kind}\n",
            at("state"),
            at("cache"),
            at("roots"),
            at("cache"),
        );
        fs::write(&config, text).unwrap();
        let drone =
            Command::new(env!("CARGO_BIN_EXE_swarm-drone")).arg("--config").arg(config).output().unwrap();
        let stderr = String::from_utf8_lossy(&drone.stderr);
        assert_eq!(drone.status.code(), Some(78), "{stderr}");
        assert!(stderr.contains("runs without root") && stderr.contains(advice), "{stderr}");
        assert!(!lab.dir.path().join("state").exists(), "it began all the same");
    }
}
