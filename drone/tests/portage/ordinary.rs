//! A drone that runs as an ordinary user: what works, and what is refused and why.

use crate::{
    lab::{Lab, order, play, target, with_use},
    private::{is_inside, rerun},
};
use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};
use swarm_drone::{
    builder::{BuildEnd, BuilderConfig},
    buildroot::RootKind,
};

/// The refusals that an ordinary user gets for what takes root.
pub fn mounting_is_refused() {
    for kind in [RootKind::Overlay, RootKind::Live] {
        let config = BuilderConfig { root_kind: kind, ..BuilderConfig::default() };
        let refusal = config.check_rights().unwrap_err();
        assert!(refusal.contains(kind.word()) && refusal.contains("root_kind = \"scratch\""), "{refusal}");
    }
    assert_eq!(BuilderConfig::default().check_rights(), Ok(()));
}

#[tokio::test]
async fn an_ordinary_user_builds_in_scratch_and_is_told_why_not_otherwise() {
    let name = "ordinary::an_ordinary_user_builds_in_scratch_and_is_told_why_not_otherwise";
    if rustix::process::geteuid().is_root() {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut nobody = Command::new("setpriv");
        nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        return rerun(nobody, name, place.path());
    }
    assert!(!rustix::process::geteuid().is_root() || !is_inside(name));
    mounting_is_refused();

    let lab = Lab::new();
    for kind in [
        "root_kind = \"overlay\"\nbase_root = \"/\"",
        "root_kind = \"live\"\nlive_changes_this_machine = true",
    ] {
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
        let said = String::from_utf8_lossy(&drone.stderr);
        assert_eq!(drone.status.code(), Some(78), "{said}");
        assert!(said.contains("only root may") && said.contains("root_kind = \"scratch\""), "{said}");
        assert!(!lab.dir.path().join("state").exists(), "it began all the same");
    }

    lab.file(
        "app-misc/asker/asker-1.ebuild",
        "EAPI=8\nDESCRIPTION=\"x\"\nSLOT=0\nKEYWORDS=amd64\nS=\"${WORKDIR}\"\n\
         src_compile() { echo \"may run ${MAKEOPTS%% *} as $(id -u)\"; }\n",
    );
    let own = rustix::process::geteuid().as_raw();
    // The lower of what the drone is set to and what the assignment allows.
    for (set, allowed, jobs) in [(4, 2, 2), (3, 9, 3), (5, 0, 5)] {
        let work = order(vec![with_use(target("app-misc/asker-1", "0", 1), &[], &[])], vec![]);
        let mut context = lab.context(work, "http://127.0.0.1:9");
        context.config.jobs = set;
        context.assignment.limits.jobs = allowed;
        let (end, log, _) = play(context).await;
        let BuildEnd::Built { .. } = end else { panic!("{end:?}\n{log}") };
        assert!(log.contains(&format!("may run -j{jobs} as {own}")), "{log}");
    }
}
