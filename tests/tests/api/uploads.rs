//! Uploads of package files: resumed, refused, and of another drone.

use crate::refused;
use swarm_client::{Bytes, ClientError};
use swarm_common::{
    digest::Digest,
    id::AttemptId,
    state::*,
    wire::{
        base::UsrMerge,
        drone::{Outcome, Target, UploadRequest},
    },
};
use swarm_daemon::config::Size;
use swarm_tests::api::{FakeDrone, Swarm, fixture, package_file, package_with, until};

fn file_of(target: &Target) -> (Digest, Bytes) {
    let bytes = std::fs::read(package_file(target)).unwrap();
    (Digest::of(&bytes), bytes.into())
}

async fn begun(drone: &FakeDrone, attempt: AttemptId, target: &Target, bytes: &Bytes) -> Digest {
    let digest = Digest::of(bytes);
    let request = UploadRequest { digest, size: bytes.len() as u64, target: target.id().to_owned() };
    let status = drone.client.begin_upload(attempt, &request).await.unwrap();
    assert_eq!((status.offset, status.verified), (0, false));
    digest
}

// fault: 8
#[tokio::test]
async fn an_upload_goes_on_where_it_stopped() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    let (attempt, order) = drone.build_order().await.unwrap();
    let (digest, bytes) = file_of(&order.targets[0]);
    begun(&drone, attempt, &order.targets[0], &bytes).await;
    let half = bytes.len() / 2;
    let status = drone.client.upload_piece(attempt, digest, 0, bytes.slice(..half)).await.unwrap();
    assert_eq!((status.offset, status.verified), (half as u64, false));
    // Repeats the first piece, as if its response had been lost. The response says where to continue.
    let status = drone.client.upload_piece(attempt, digest, 0, bytes.slice(..half)).await.unwrap();
    assert_eq!((status.offset, status.verified), (half as u64, false));
    let request =
        UploadRequest { digest, size: bytes.len() as u64, target: order.targets[0].id().to_owned() };
    assert_eq!(drone.client.begin_upload(attempt, &request).await.unwrap().offset, half as u64);
    let status = drone.client.upload_piece(attempt, digest, half as u64, bytes.slice(half..)).await.unwrap();
    assert!(status.verified);
    assert!(drone.client.begin_upload(attempt, &request).await.unwrap().verified);
}

#[tokio::test]
async fn a_file_that_is_not_what_was_asked_for_ends_the_attempt_with_the_reason() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    let (attempt, order) = drone.build_order().await.unwrap();
    let wrong: Bytes = std::fs::read(fixture("cairn-3-1.gpkg.tar")).unwrap().into();
    let digest = begun(&drone, attempt, &order.targets[0], &wrong).await;
    let error = drone.client.upload_piece(attempt, digest, 0, wrong).await.unwrap_err();
    assert_eq!(error.status(), Some(422));
    assert!(error.to_string().contains("`app-misc`, expected `dev-libs`"), "{error}");

    let view = swarm.admin.package(order.package).await.unwrap();
    assert_eq!(view.state, PackageState::Needed);
    assert!(view.attempts[0].outcome.as_ref().unwrap().contains("refused"), "{:?}", view.attempts);
    assert_eq!(swarm.admin.drones().await.unwrap()[0].strikes, 1);
    assert!(swarm.admin.artifacts(None).await.unwrap().is_empty());
    // Its attempt has ended, which the response says.
    let request = UploadRequest { digest, size: 1, target: order.targets[0].id().to_owned() };
    assert_eq!(refused(drone.client.begin_upload(attempt, &request).await), 409);
}

// fault: 28
#[tokio::test]
async fn a_damaged_file_is_refused_and_nothing_of_it_is_kept() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    let (attempt, order) = drone.build_order().await.unwrap();
    let (_, bytes) = file_of(&order.targets[0]);
    let mut damaged = bytes.to_vec();
    let at = damaged.len() / 2;
    damaged[at] ^= 1;
    let damaged = Bytes::from(damaged);
    let digest = begun(&drone, attempt, &order.targets[0], &damaged).await;
    assert_eq!(refused(drone.client.upload_piece(attempt, digest, 0, damaged).await), 422);
    assert_eq!(swarm.app.store.list().unwrap(), []);
    assert_eq!(swarm.app.intake.incoming().list().unwrap(), []);
}

#[tokio::test]
async fn a_drone_cannot_touch_another_drones_attempt() {
    let swarm = Swarm::start().await.unwrap();
    let (one, two) = (swarm.drone("one").await.unwrap(), swarm.drone("two").await.unwrap());
    swarm.planned(&one).await.unwrap();
    let (attempt, order) = one.build_order().await.unwrap();
    let (digest, bytes) = file_of(&order.targets[0]);
    let request =
        UploadRequest { digest, size: bytes.len() as u64, target: order.targets[0].id().to_owned() };
    assert_eq!(refused(two.client.begin_upload(attempt, &request).await), 403);
    one.client.begin_upload(attempt, &request).await.unwrap();
    assert_eq!(refused(two.client.upload_piece(attempt, digest, 0, bytes).await), 403);
    assert_eq!(refused(two.client.append_log(attempt, 0, Bytes::from_static(b"x")).await), 403);
    assert_eq!(refused(one.client.begin_upload(AttemptId(99), &request).await), 404);
    one.upload(attempt, &order.targets[0]).await.unwrap();
}

#[tokio::test]
async fn a_file_that_was_not_asked_for_is_not_even_announced() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    let (attempt, _) = drone.build_order().await.unwrap();
    let target = "dev-libs/boulder-1".to_owned();
    let request = UploadRequest { digest: Digest::of(b"x"), size: 1, target };
    assert_eq!(refused(drone.client.begin_upload(attempt, &request).await), 422);
}

#[tokio::test]
async fn a_file_larger_than_allowed_or_than_announced_is_refused() {
    let swarm = Swarm::start_with(|config| config.limits.upload_size = Size::from_bytes(100)).await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    let (attempt, order) = drone.build_order().await.unwrap();
    let target = order.targets[0].id().to_owned();
    let mut request = UploadRequest { digest: Digest::of(b"x"), size: 101, target };
    assert_eq!(refused(drone.client.begin_upload(attempt, &request).await), 413);
    request.size = 10;
    drone.client.begin_upload(attempt, &request).await.unwrap();
    let more = Bytes::from(vec![0; 11]);
    assert_eq!(refused(drone.client.upload_piece(attempt, request.digest, 0, more).await), 422);
    let unannounced = drone.client.upload_piece(attempt, Digest::of(b"y"), 0, Bytes::from_static(b"y")).await;
    assert_eq!(refused(unannounced), 404);
}

#[tokio::test]
async fn what_an_attempt_may_announce_is_bounded_in_number_and_sum() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    let (attempt, order) = drone.build_order().await.unwrap();
    let announce = async |n: u32, size: u64| {
        let request = UploadRequest {
            digest: Digest::of(&n.to_le_bytes()),
            size,
            target: order.targets[0].id().to_owned(),
        };
        match drone.client.begin_upload(attempt, &request).await {
            Ok(_) => String::new(),
            Err(ClientError::Problem(problem)) => problem.kind,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(announce(0, 1).await, "");
    // Two files of the maximum size exceed the total for an attempt.
    assert_eq!(announce(1, 8 << 30).await, "");
    let mut refused = Vec::new();
    for n in 2..300 {
        refused.push(announce(n, 8 << 30).await);
    }
    assert!(refused.iter().all(|kind| kind == "/problems/too-many-uploads"), "{refused:?}");
    let swarm = Swarm::start_with(|config| config.limits.attempt_size = Size::from_bytes(100)).await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    let (attempt, order) = drone.build_order().await.unwrap();
    let target = order.targets[0].id().to_owned();
    let request = UploadRequest { digest: Digest::of(b"x"), size: 101, target };
    match drone.client.begin_upload(attempt, &request).await {
        Err(ClientError::Problem(problem)) => assert_eq!(problem.kind, "/problems/uploads-too-large"),
        other => panic!("{other:?}"),
    }
}

// fault: 8
#[tokio::test]
async fn an_upload_that_breaks_off_keeps_what_came() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    let (attempt, order) = drone.build_order().await.unwrap();
    let (digest, bytes) = file_of(&order.targets[0]);
    begun(&drone, attempt, &order.targets[0], &bytes).await;
    let mut raw = swarm.raw().await.unwrap();
    let head = format!(
        "PATCH /api/v1/attempts/{attempt}/uploads/{digest} HTTP/1.1\r\nhost: s\r\nupload-offset: 0\r\n\
         authorization: Bearer {}\r\ncontent-length: {}\r\n\r\n",
        drone.credential,
        bytes.len()
    );
    raw.send(head).await.unwrap();
    raw.send(&bytes[..1000]).await.unwrap();
    drop(raw);
    // Asked without a piece: a piece that arrived first would cause the interrupted request to be refused.
    let target = order.targets[0].id().to_owned();
    let request = UploadRequest { digest, size: bytes.len() as u64, target };
    until("the bytes are kept", async || {
        let status = drone.client.begin_upload(attempt, &request).await.unwrap();
        (status.offset == 1000).then_some(())
    })
    .await;
    // Once the interrupted request no longer locks the file, the other end has noticed the interruption.
    let rest = bytes.slice(1000..);
    until("the upload goes on", async || {
        match drone.client.upload_piece(attempt, digest, 1000, rest.clone()).await {
            Ok(status) if status.verified => return Some(()),
            Ok(status) => assert!(status.offset <= 1000, "{status:?}"),
            Err(error) => assert_eq!(error.status(), Some(503), "{error}"),
        }
        None
    })
    .await;
}

#[tokio::test]
async fn a_package_of_very_many_files_is_taken_with_all_of_them() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    let (attempt, order) = drone.build_order().await.unwrap();
    // More files than are examined in parallel with others.
    let paths: Vec<String> = (0..50_001).map(|n| format!("usr/share/many/{n}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let bytes = package_with(&order.targets[0], &paths, &[]);
    let digest = drone.upload_bytes(attempt, &order.targets[0], bytes).await.unwrap();
    assert!(drone.report(attempt, Outcome::Built { artifacts: vec![digest] }).await.unwrap().accepted);
    let artifact = &swarm.admin.artifacts(None).await.unwrap()[0];
    let files = swarm.app.entries.files(artifact).unwrap();
    assert_eq!(files.shared_with(&files, UsrMerge::Split).len(), paths.len());
    assert!(artifact.index_bytes > 100);
}
