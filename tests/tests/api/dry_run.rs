//! `--dry-run`: the real `swarmctl` says what it would do, and the orchestrator's journal gets nothing.

use crate::login::swarmctl;
use serde_json::Value;
use swarm_common::state::{DroneState, RunState};
use swarm_tests::api::Swarm;

#[tokio::test]
async fn what_a_dry_run_shows_does_not_happen_and_what_is_refused_fails() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("oak").await.unwrap();
    let run = swarm.planned(&drone).await.unwrap();
    drone.work().await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let url = format!("http://{}", swarm.address);
    let token = swarm.state_dir().join("admin.token");
    let connection = ["--orchestrator", &url, "--admin-token-file", token.to_str().unwrap()];
    let ask = async |arguments: &str| {
        let words: Vec<&str> = arguments.split(' ').chain(connection).collect();
        swarmctl(home.path(), &words).await
    };
    let before = swarm.app.engine.read(|swarm| swarm.seq);

    let (code, out, stderr) = ask("drone remove oak --dry-run").await;
    assert_eq!(code, 0, "{stderr}");
    for want in ["This would:\n", "revoke the credential of oak", "dev-libs/pebble-1.2 to another drone"] {
        assert!(out.contains(want), "{out}");
    }
    let (code, out, _) = ask(&format!("run cancel {run} --dry-run --json")).await;
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["dry_run"]), (0, &true.into()));
    assert!(json["would"].as_array().unwrap().contains(&"discard 1 running build".into()), "{json}");
    let (code, out, stderr) = ask("profile remove desk --dry-run").await;
    assert!(code == 1 && out.is_empty() && stderr.contains(&format!("{run} of desk is active")), "{stderr}");
    let (code, out, _) = ask("quarantine release --all --dry-run").await;
    assert_eq!((code, out.as_str()), (0, "This would change nothing.\n"));
    let (code, out, _) = ask("schedule remove desk --dry-run").await;
    assert_eq!((code, out.as_str()), (0, "This would change nothing.\n"));

    let after = swarm.app.engine.read(|swarm| swarm.seq);
    assert_eq!(after, before, "something was journaled");
    assert_eq!(swarm.admin.run(run).await.unwrap().state, RunState::Building);
    assert_eq!(swarm.admin.drones().await.unwrap()[0].state, DroneState::Online);
    // Without the option, a script must say that it means it.
    let (code, _, stderr) = ask("drone remove oak").await;
    assert!(code == 2 && stderr.contains("--yes"), "{stderr}");
    let (code, _, stderr) = ask("drone remove oak --yes").await;
    assert_eq!(code, 0, "{stderr}");
    assert!(swarm.admin.drones().await.unwrap().is_empty());
}
