//! A state directory restored from a backup, while drones and workstations know more.

use crate::key;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};
use swarm_common::{
    digest::Digest,
    id::{AttemptId, RunId},
    state::{DroneState, Phase},
    wire::{
        concern::{Action, ConcernKind},
        drone::*,
    },
};
use swarm_core::Event;
use swarm_tests::api::{
    FakeDrone, Swarm, TestClock, again, copy, facts, nothing_free, package_with, pebble, plan_of, restored,
};

/// A run that builds the package again, with bytes that no other build has.
async fn build(swarm: &Swarm, drone: &FakeDrone, inputs: &str) -> AttemptId {
    swarm.run().await.unwrap();
    let mut package = pebble();
    package.inputs = Digest::of(inputs.as_bytes());
    drone.bring_plan(plan_of(&[package])).await.unwrap();
    let (attempt, order) = drone.build_order().await.unwrap();
    let bytes = package_with(&order.targets[0], &["usr/share/pebble"], &[("DESCRIPTION", inputs)]);
    let artifact = drone.upload_bytes(attempt, &order.targets[0], bytes).await.unwrap();
    assert!(drone.report(attempt, Outcome::Built { artifacts: vec![artifact] }).await.unwrap().accepted);
    let seq = swarm.app.engine.read(|s| s.seq);
    assert!(swarm.app.published.reached(seq, Duration::from_secs(60)).await);
    attempt
}

/// Every ID that was assigned and every file that was published after the event `since`.
#[derive(Debug, Default)]
struct GivenOut {
    ids: BTreeSet<String>,
    files: BTreeMap<String, Digest>,
}

async fn given_out(swarm: &Swarm, since: u64) -> GivenOut {
    let mut given = GivenOut::default();
    for record in swarm.app.engine.records(since, usize::MAX).await.unwrap() {
        let ids = match &record.event {
            Event::RunStarted { run, .. } => vec![run.to_string()],
            Event::PlanDelegated { attempt, .. } => vec![attempt.to_string()],
            Event::PackageDelegated { attempt, package, .. } => {
                vec![attempt.to_string(), package.to_string()]
            }
            Event::DroneEnrolled { drone, .. } => vec![drone.to_string()],
            Event::PackageReceived { artifacts, .. } => {
                given.files.extend(artifacts.iter().map(|a| (a.target.portage().unwrap().path(), a.digest)));
                continue;
            }
            _ => continue,
        };
        given.ids.extend(ids);
    }
    given
}

// fault: 52
#[tokio::test]
async fn after_a_restore_no_id_is_given_out_twice_and_no_published_path_changes_its_bytes() {
    let backup = tempfile::tempdir().unwrap();
    // The clock stands still: nothing may depend on the time between two restores.
    let clock = Arc::new(TestClock::default());
    let swarm = Swarm::start_at(Some(clock), |_| {}).await.unwrap();
    let first = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    build(&swarm, &first, "before the backup").await;
    let mut swarm =
        swarm.restart_after(|config| copy(&config.state_dir, backup.path()).unwrap()).await.unwrap();
    let since = swarm.app.engine.read(|s| s.seq);
    let mark = swarm.state_dir().join("journal.mark");
    let mut lives = Vec::new();
    for life in ["that was lost", "after a restore", "after another restore of the same backup"] {
        let drone = again(&swarm, &first).unwrap();
        let mut attempts = Vec::new();
        for number in 0..3 {
            attempts.push(build(&swarm, &drone, &format!("build {number} of the life {life}")).await);
        }
        swarm.drone("two").await.unwrap();
        let given = given_out(&swarm, since - 1).await;
        assert!(given.ids.len() >= 11 && given.files.len() == 3, "{life}: {given:?}");
        lives.push((life, given, attempts));
        swarm = restored(swarm, backup.path()).await.unwrap();
        assert!(mark.exists());
    }
    for (at, (life, given, _)) in lives.iter().enumerate() {
        for (other, before, _) in &lives[..at] {
            let twice: Vec<_> = given.ids.intersection(&before.ids).collect();
            assert!(twice.is_empty(), "{twice:?} were given out {life} and in the life {other}");
            for (path, digest) in &given.files {
                let was = before.files.get(path);
                assert!(
                    was.is_none_or(|was| was == digest),
                    "{path} has other bytes {life} than in the life {other}"
                );
            }
        }
    }
    // Attempts that a drone still holds from the unknown time are not wanted, so that it forgets them.
    let drone = again(&swarm, &first).unwrap();
    for (life, _, attempts) in &lives {
        let outcome = Outcome::HandedBack { reason: "a test".into() };
        assert_eq!(crate::refused(drone.report(attempts[0], outcome).await), 404, "{life}");
        let held = vec![AttemptStatus {
            attempt: attempts[1],
            phase: Phase::Building,
            stuck: None,
            made_from: None,
        }];
        assert_eq!(drone.heartbeat(held).await.unwrap().cancel[0].attempt, attempts[1], "{life}");
    }
    let kept = swarm.app.engine.read(|s| s.last.run);
    assert!(swarm.run().await.unwrap() > RunId(kept), "and it goes on");
    assert_eq!(swarm.admin.audit().await.unwrap().faults, Vec::<String>::new());
}

#[tokio::test]
async fn a_restart_of_what_is_not_a_copy_skips_no_id() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    build(&swarm, &drone, "first").await;
    let swarm = swarm.restart().await.unwrap().restart().await.unwrap();
    let last = swarm.app.engine.read(|s| s.last);
    assert_eq!((last.run, last.drone), (1, 1));
    build(&swarm, &again(&swarm, &drone).unwrap(), "second").await;
    let path = &swarm.admin.artifacts(None).await.unwrap()[1].target.portage().unwrap().path();
    assert_eq!(path, "dev-libs/pebble/pebble-1.2-2.gpkg.tar");
}

/// Rolls the files back to `backup` including the journal's mark, like a file system or a virtual machine.
fn roll_back(backup: &Path, state_dir: &Path) {
    fs::remove_dir_all(state_dir).unwrap();
    copy(backup, state_dir).unwrap();
    let mark = state_dir.join("journal.mark");
    let text = fs::read_to_string(&mark).unwrap();
    let [seq, hash, _, _] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let words = format!("{seq} {hash} {now:020}");
    let check = Digest::of(words.as_bytes()).to_string();
    fs::write(&mark, format!("{words} {}\n", &check[..16])).unwrap();
}

// fault: 52
#[tokio::test]
async fn a_rollback_that_only_drones_can_know_is_told_and_gives_no_id_out_twice() {
    let backup = tempfile::tempdir().unwrap();
    let swarm = Swarm::start().await.unwrap();
    let oak = swarm.drone("oak").await.unwrap();
    swarm.profile().await.unwrap();
    build(&swarm, &oak, "before").await;
    let mut swarm =
        swarm.restart_after(|config| copy(&config.state_dir, backup.path()).unwrap()).await.unwrap();
    let since = swarm.app.engine.read(|s| s.seq);
    let mut lives: Vec<GivenOut> = Vec::new();
    let mut seen = None;
    for life in 0..3 {
        let drone = again(&swarm, &oak).unwrap();
        let request = HeartbeatRequest {
            vitals: nothing_free(),
            attempts: Vec::new(),
            draining: false,
            boot_id: "b".into(),
            facts: None,
            highest_attempt: seen,
        };
        drone.client.heartbeat(&request).await.unwrap();
        let concerns = swarm.admin.status().await.unwrap().concerns;
        let rolled_back = concerns.iter().any(|c| matches!(c.fact, ConcernKind::JournalRolledBack { .. }));
        assert_eq!(rolled_back, life > 0, "{concerns:?}");
        for number in 0..3 {
            seen = Some(build(&swarm, &drone, &format!("build {number} of life {life}")).await).max(seen);
        }
        let given = given_out(&swarm, since).await;
        for before in &lives {
            assert!(given.ids.is_disjoint(&before.ids), "{given:?} and {before:?}");
            assert!(
                given.files.keys().all(|path| !before.files.contains_key(path)),
                "{given:?} and {before:?}"
            );
        }
        lives.push(given);
        swarm = swarm.restart_after(|config| roll_back(backup.path(), &config.state_dir)).await.unwrap();
    }
}

#[tokio::test]
async fn a_drone_that_a_backup_does_not_know_returns_without_a_token_and_works_once_approved() {
    let offer = |swarm: &Swarm, called: &str, credential: &str| {
        let nobody = swarm.nobody().unwrap();
        let (name, hash) = (called.parse().unwrap(), Digest::of(credential.as_bytes()));
        async move {
            let token = String::new();
            nobody.enrol(&EnrolRequest { token, name, facts: facts(), credential_hash: Some(hash) }).await
        }
    };
    let backup = tempfile::tempdir().unwrap();
    let swarm = Swarm::start().await.unwrap();
    swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    let swarm = swarm.restart_after(|config| copy(&config.state_dir, backup.path()).unwrap()).await.unwrap();
    let two = swarm.drone("two").await.unwrap();
    crate::refused(offer(&swarm, "eve", "hers").await);

    let swarm = restored(swarm, backup.path()).await.unwrap();
    let two = again(&swarm, &two).unwrap();
    assert_eq!(crate::refused(two.heartbeat(Vec::new()).await), 401);
    let id = offer(&swarm, "two", &two.credential).await.unwrap().drone;
    assert_eq!(offer(&swarm, "two", &two.credential).await.unwrap().drone, id, "a repeat");
    assert_eq!(two.heartbeat(Vec::new()).await.unwrap().state, DroneState::Pending);
    let concerns = swarm.admin.status().await.unwrap().concerns;
    let found = concerns.iter().find(|c| c.what.contains("two returned after the journal was restored"));
    assert_eq!(found.unwrap().action, Some(Action::ApproveDrone { drone: "two".parse().unwrap() }));

    // Names that are already used, many strangers, and drones that were removed.
    crate::refused(offer(&swarm, "one", "not its own").await);
    let mut taken = Vec::new();
    for n in 0..40 {
        taken.extend(offer(&swarm, &format!("e{n}"), &format!("credential {n}")).await);
    }
    assert_eq!(taken.len(), 31);
    let first = taken[0].drone;
    swarm.admin.remove_drone(first, &key()).await.unwrap();
    crate::refused(offer(&swarm, "e0", "credential 0").await);

    swarm.admin.approve_drone(id, &key()).await.unwrap();
    build(&swarm, &two, "after the restore").await;
}
