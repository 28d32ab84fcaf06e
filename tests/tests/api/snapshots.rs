//! Snapshots.

use crate::refused;
use std::path::Path;
use swarm_client::ClientError;
use swarm_common::digest::Digest;
use swarm_daemon::config::Size;
use swarm_formats::snapshot::unpack;
use swarm_tests::api::{Swarm, snapshot};

async fn fetch(client: &swarm_client::Client, digest: Digest) -> Result<Vec<u8>, ClientError> {
    let mut stream = client.snapshot(digest, 0).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

#[tokio::test]
async fn a_drone_gets_exactly_the_snapshot_that_the_admin_sent() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (digest, archive) = snapshot(&dir.path().join("s.tar.zst")).unwrap();
    assert!(!swarm.admin.has_snapshot(digest).await.unwrap());
    assert_eq!(refused(fetch(&drone.client, digest).await), 404);
    swarm.admin.put_snapshot(digest, &archive).await.unwrap();
    swarm.admin.put_snapshot(digest, &archive).await.unwrap();
    assert!(swarm.admin.has_snapshot(digest).await.unwrap());
    let bytes = fetch(&drone.client, digest).await.unwrap();
    assert_eq!(bytes, std::fs::read(&archive).unwrap());
    unpack(&bytes[..], digest, &dir.path().join("unpacked")).unwrap();
}

#[tokio::test]
async fn content_with_another_digest_and_what_is_no_archive_are_refused_and_leave_nothing() {
    let swarm = Swarm::start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (digest, archive) = snapshot(&dir.path().join("s.tar.zst")).unwrap();
    let other = Digest::of(b"other");
    assert_eq!(refused(swarm.admin.put_snapshot(other, &archive).await), 422);
    let cut = dir.path().join("cut");
    let whole = std::fs::read(&archive).unwrap();
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(refused(swarm.admin.put_snapshot(digest, &cut).await), 422);
    std::fs::write(&cut, b"no archive").unwrap();
    assert_eq!(refused(swarm.admin.put_snapshot(digest, &cut).await), 422);
    assert!(!swarm.admin.has_snapshot(digest).await.unwrap());
    assert!(!swarm.admin.has_snapshot(other).await.unwrap());
    assert_eq!(left_in(&swarm.state_dir().join("snapshots")), 0);
}

#[tokio::test]
async fn a_snapshot_larger_than_allowed_is_refused() {
    let swarm = Swarm::start_with(|config| config.limits.snapshot_size = Size::from_bytes(10)).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (digest, archive) = snapshot(&dir.path().join("s.tar.zst")).unwrap();
    assert_eq!(refused(swarm.admin.put_snapshot(digest, &archive).await), 413);
}

fn left_in(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}
