//! An orchestrator that is stopped and started again with the same state.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use swarm_client::Bytes;
use swarm_common::{
    digest::Digest,
    state::*,
    wire::drone::{Outcome, UploadRequest},
};
use swarm_orchestrator::{
    config::Config,
    server::{self, StartError},
};
use swarm_tests::api::{FakeDrone, Swarm, package_file};

/// The same drone, using the orchestrator's current address.
fn moved(drone: &FakeDrone, swarm: &Swarm) -> FakeDrone {
    let secret = swarm_common::secret::Secret::new(&drone.credential);
    let client = swarm.nobody().unwrap().with_credential(secret);
    FakeDrone { client, id: drone.id, credential: drone.credential.clone() }
}

#[tokio::test]
async fn a_build_survives_and_its_upload_goes_on() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    let run = swarm.planned(&drone).await.unwrap();
    let (attempt, order) = drone.build_order().await.unwrap();
    let bytes = Bytes::from(std::fs::read(package_file(&order.targets[0])).unwrap());
    let digest = Digest::of(&bytes);
    let request =
        UploadRequest { digest, size: bytes.len() as u64, target: order.targets[0].id().to_owned() };
    drone.client.begin_upload(attempt, &request).await.unwrap();
    drone.client.upload_piece(attempt, digest, 0, bytes.slice(..5000)).await.unwrap();

    let swarm = swarm.restart().await.unwrap();
    let drone = moved(&drone, &swarm);
    assert_eq!(drone.client.begin_upload(attempt, &request).await.unwrap().offset, 5000);
    drone.client.upload_piece(attempt, digest, 5000, bytes.slice(5000..)).await.unwrap();

    // The file was checked, which a restart forgets, so it is checked again for the report.
    let swarm = swarm.restart().await.unwrap();
    let drone = moved(&drone, &swarm);
    let reply = drone.report(attempt, Outcome::Built { artifacts: vec![digest] }).await.unwrap();
    assert!(reply.accepted, "{reply:?}");
    assert_eq!(swarm.admin.run(run).await.unwrap().state, RunState::Succeeded);

    // A report that is repeated after another restart gets the same answer.
    let swarm = swarm.restart().await.unwrap();
    let drone = moved(&drone, &swarm);
    let reply = drone.report(attempt, Outcome::Built { artifacts: vec![digest] }).await.unwrap();
    assert!(reply.accepted, "{reply:?}");
}

// fault: 65
#[tokio::test]
async fn a_disk_of_packages_that_is_not_mounted_stops_the_start_and_nothing_is_stored_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let [state, disk, away] = ["state", "disk", "away"].map(|name| dir.path().join(name));
    let swarm = Swarm::start_with(|config| {
        (config.state_dir, config.artifact_dir) = (state.clone(), Some(disk.clone()));
    });
    let swarm = swarm.await.unwrap().restart().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    drone.build().await.unwrap();
    let mark = disk.join(".build-swarm");
    let package = swarm.admin.artifacts(None).await.unwrap()[0].digest;

    // The store of an earlier version has no mark and gets one.
    let swarm = swarm.restart_after(|_| std::fs::remove_file(&mark).unwrap()).await.unwrap();
    assert!(mark.exists());

    let mut config = None;
    let refused = swarm
        .restart_after(|own| {
            std::fs::rename(&disk, &away).unwrap();
            std::fs::create_dir(&disk).unwrap();
            config = Some(own.clone());
        })
        .await;
    let refused = format!("{:#}", refused.err().unwrap());
    assert!(refused.contains(&mark.display().to_string()) && refused.contains("--accept-new"), "{refused}");
    let config = config.unwrap();
    let start = async |accept_new: bool| {
        let config = Config { accept_new, ..config.clone() };
        let server = server::build(config).await?;
        let found = server.app().store.size(package).is_ok();
        server.serve(async {}).await.unwrap();
        Ok::<_, StartError>(found)
    };
    // The same after it has created its folders there.
    let error = start(false).await.unwrap_err();
    assert_eq!((error.exit_code(), mark.exists()), (74, false), "{error}");

    std::fs::rename(&disk, dir.path().join("empty")).unwrap();
    std::fs::rename(&away, &disk).unwrap();
    assert!(start(false).await.unwrap());
    std::fs::remove_dir_all(&disk).unwrap();
    assert!(!start(true).await.unwrap(), "the loss was accepted");
    assert!(!start(false).await.unwrap(), "what was accepted is accepted");
}

#[tokio::test]
async fn a_published_index_that_was_lost_is_made_again() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    drone.build().await.unwrap();
    let profile = swarm_tests::api::name(swarm_tests::api::PROFILE);
    let stable = swarm.app.binhosts.stable(&profile);
    crate::binhost::generation(&swarm, 1).await;
    let swarm = swarm.restart_after(|_| std::fs::remove_dir_all(&stable).unwrap()).await.unwrap();
    let seq = swarm.app.engine.read(|s| s.seq);
    assert!(swarm.app.published.reached(seq, Duration::from_secs(60)).await);
    assert!(std::fs::read_to_string(stable.join("Packages")).unwrap().contains("dev-libs/pebble-1.2"));
    assert!(stable.join("dev-libs/pebble/pebble-1.2-1.gpkg.tar").is_file());
}

// fault: 6
#[tokio::test]
async fn what_nobody_needs_is_removed_and_what_may_yet_be_needed_stays() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    drone.build().await.unwrap();
    let received = swarm.admin.artifacts(None).await.unwrap()[0].digest;
    let store = swarm.app.store.clone();
    let stored = |digest| PathBuf::from(store.describe(digest));
    let (old, young) = (Digest::of(b"old"), Digest::of(b"young"));
    let days_ago = SystemTime::now() - Duration::from_secs(3 * 24 * 3600);
    let put = |path: &Path, bytes: &[u8], modified: Option<SystemTime>| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        if let Some(modified) = modified {
            std::fs::File::open(path).unwrap().set_modified(modified).unwrap();
        }
    };
    let swarm = swarm
        .restart_after(|config| {
            put(&stored(old), b"old", Some(days_ago));
            put(&stored(young), b"young", None);
            put(&config.state_dir.join("logs/a99.log"), b"of nobody", None);
            put(&config.state_dir.join("binhost/gone/stable/Packages"), b"", None);
            let snapshot = format!("snapshots/{old}.tar.zst");
            put(&config.state_dir.join(snapshot), b"", Some(days_ago));
        })
        .await
        .unwrap();
    let state = swarm.state_dir();
    // The binary package hosts are examined last.
    while state.join("binhost/gone").exists() {
        tokio::task::yield_now().await;
    }
    assert!(!stored(old).exists());
    assert!(stored(young).exists(), "it may be a package that is not reported yet");
    assert!(stored(received).exists());
    assert!(!state.join("logs/a99.log").exists());
    assert!(!state.join(format!("snapshots/{old}.tar.zst")).exists());
    assert_eq!(std::fs::read_dir(state.join("snapshots")).unwrap().count(), 1, "the profile's own stays");
}
