//! Actions that cannot simply be undone require confirmation: by a person at a terminal, or with `--yes` in a
//! script.

use crate::{
    login::{done, swarmctl},
    packages::quarantine,
};
use std::{path::Path, process::Command};
use swarm_common::state::{PackageState, RunState};
use swarm_tests::{api::Swarm, e2e::programs::program};

/// Runs `swarmctl` at a terminal of 60 columns, in which somebody types `answer`. Returns everything that is
/// shown.
async fn at_terminal(home: &Path, arguments: &str, answer: &str) -> (i32, String) {
    let typed = format!("stty cols 60; exec '{}' {arguments}", program("swarmctl").unwrap().display());
    let script = format!("echo {answer} | script --quiet --return --command \"{typed}\" /dev/null");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).env("NO_COLOR", "1");
    let (code, shown, stderr) = done(home, command).await;
    (code, shown + &stderr)
}

async fn logged_in(swarm: &Swarm) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let token = swarm.state_dir().join("admin.token");
    let login = ["login", swarm.admin.address().as_str(), "--token-file", token.to_str().unwrap()];
    let (code, out, stderr) = swarmctl(home.path(), &login).await;
    assert_eq!(code, 0, "{out}{stderr}");
    home
}

#[tokio::test]
async fn a_run_is_cancelled_by_a_script_or_by_a_person_who_says_yes() {
    let swarm = Swarm::start().await.unwrap();
    let home = logged_in(&swarm).await;
    swarm.profile().await.unwrap();
    let run = swarm.run().await.unwrap();
    let cancel = format!("run cancel {run}");
    let (code, shown) = at_terminal(home.path(), &cancel, "n").await;
    assert!(code == 1 && shown.contains(&format!("Cancel {run}? ")), "{code} {shown}");
    assert_eq!(swarm.admin.run(run).await.unwrap().state, RunState::Planning);
    let (code, shown) = at_terminal(home.path(), &cancel, "y").await;
    assert_eq!((code, swarm.admin.run(run).await.unwrap().state), (0, RunState::Cancelled), "{shown}");

    let second = swarm.run().await.unwrap();
    let (code, shown) = at_terminal(home.path(), &format!("--no-input run cancel {second}"), "n").await;
    assert!(code == 0 && !shown.contains('?'), "{code} {shown}");
    let third = swarm.run().await.unwrap();
    assert_eq!(swarmctl(home.path(), &["run", "cancel", &third.to_string()]).await.0, 0);
}

#[tokio::test]
async fn all_quarantined_packages_are_released_together_once_that_is_confirmed() {
    let swarm = Swarm::start().await.unwrap();
    let home = logged_in(&swarm).await;
    let release = ["quarantine", "release", "--all"];
    let (code, out, stderr) = swarmctl(home.path(), &release).await;
    assert_eq!((code, out.as_str()), (0, "No quarantined packages.\n"), "{stderr}");

    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    let package = quarantine(&swarm, &drone).await;
    let (code, _, stderr) = swarmctl(home.path(), &release).await;
    assert!(code == 2 && stderr.contains("pass --yes"), "{code} {stderr}");
    let (code, shown) = at_terminal(home.path(), &release.join(" "), "n").await;
    assert!(code == 1 && shown.contains("Retry all 1 quarantined packages?"), "{code} {shown}");
    assert_eq!(swarm.admin.package(package).await.unwrap().state, PackageState::Quarantined);

    // Its reason is longer than the terminal is wide.
    let (code, shown) = at_terminal(home.path(), "quarantine list", "").await;
    let table: Vec<&str> = shown.trim_start().lines().take_while(|line| !line.trim().is_empty()).collect();
    let widest = table.iter().map(|line| line.trim_end().chars().count()).max();
    assert!(code == 0 && table.len() == 2 && widest <= Some(60) && table[1].contains('…'), "{shown}");

    let (code, out, stderr) = swarmctl(home.path(), &[&release[..], &["--yes", "--json"]].concat()).await;
    let released: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(code == 0 && released[0]["id"] == package.to_string().as_str(), "{out}{stderr}");
    assert_eq!(swarm.admin.package(package).await.unwrap().state, PackageState::Needed);
}
