//! An orchestrator that stops and starts again on the same state.

use swarm_common::{
    client::Bytes,
    digest::Digest,
    state::*,
    wire::drone::{Outcome, UploadRequest},
};
use swarm_tests::api::{FakeDrone, Swarm, package_file};

/// The same drone, speaking to where the orchestrator is now.
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
    let request = UploadRequest { digest, size: bytes.len() as u64, cpv: order.targets[0].cpv.clone() };
    drone.client.begin_upload(attempt, &request).await.unwrap();
    drone.client.upload_piece(attempt, digest, 0, bytes.slice(..5000)).await.unwrap();

    let swarm = swarm.restart().await.unwrap();
    let drone = moved(&drone, &swarm);
    assert_eq!(drone.client.begin_upload(attempt, &request).await.unwrap().offset, 5000);
    drone.client.upload_piece(attempt, digest, 5000, bytes.slice(5000..)).await.unwrap();

    // Checked, and then forgotten by a restart: it is checked again for the report.
    let swarm = swarm.restart().await.unwrap();
    let drone = moved(&drone, &swarm);
    let reply = drone.report(attempt, Outcome::Built { artifacts: vec![digest] }).await.unwrap();
    assert!(reply.accepted, "{reply:?}");
    assert_eq!(swarm.admin.run(run).await.unwrap().state, RunState::Succeeded);

    // And a report that comes again after one more restart is answered as before.
    let swarm = swarm.restart().await.unwrap();
    let drone = moved(&drone, &swarm);
    let reply = drone.report(attempt, Outcome::Built { artifacts: vec![digest] }).await.unwrap();
    assert!(reply.accepted, "{reply:?}");
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
    let (dir, config) = swarm.stop().await.unwrap();
    std::fs::remove_dir_all(&stable).unwrap();
    let _kept = &dir;
    let server = swarm_orchestrator::server::build(config).await.unwrap();
    let app = server.app();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(server.serve(async move {
        let _told = stopped.await;
    }));
    let seq = app.engine.read(|s| s.seq);
    assert!(app.published.reached(seq, std::time::Duration::from_secs(10)).await);
    assert!(std::fs::read_to_string(stable.join("Packages")).unwrap().contains("dev-libs/pebble-1.2"));
    assert!(stable.join("dev-libs/pebble/pebble-1.2-1.gpkg.tar").is_file());
    drop(stop);
    drop(app);
    served.await.unwrap();
}
