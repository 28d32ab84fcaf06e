//! The derivations of a plan: uploaded before the plan is reported, sent with its orders, and no plan fails for them.

use anyhow::Result;
use std::fs;
use swarm_client::{Bytes, ClientError};
use swarm_common::{
    digest::Digest,
    id::AttemptId,
    wire::{
        drone::{Outcome, UploadRequest, UploadStatus},
        nix::DerivationArchive,
        plan::PlanReport,
    },
};
use swarm_formats::nix::{
    derivation::Derivation,
    derivations::{read, write},
    store_path::{StoreDir, StorePath},
};
use swarm_tests::api::{FakeDrone, Swarm, nix::World};

/// The archive of a plan's derivations. They are not resolved as a drone would, but have no inputs.
fn archive(world: &World, plan: &PlanReport) -> Vec<u8> {
    let dir = StoreDir::default();
    let all = plan.packages.iter().filter_map(|package| package.nix()?.drv.as_deref());
    let all: Vec<(StorePath, Derivation)> = all
        .map(|drv| {
            let text = fs::read(world.physical("drone", drv)).unwrap();
            let mut derivation = Derivation::parse(&text, &dir).unwrap();
            derivation.input_derivations.clear();
            (dir.parse(drv).unwrap(), derivation)
        })
        .collect();
    let mut bytes = Vec::new();
    write(&mut bytes, all.iter().map(|(path, derivation)| (path, derivation))).unwrap();
    bytes
}

/// Announces an archive and uploads it from where the upload stands.
async fn upload(
    drone: &FakeDrone,
    attempt: AttemptId,
    bytes: &[u8],
    end: usize,
) -> Result<UploadStatus, ClientError> {
    let (digest, size) = (Digest::of(bytes), bytes.len() as u64);
    let request = UploadRequest { digest, size, target: DerivationArchive::TARGET.into() };
    let status = drone.client.begin_upload(attempt, &request).await?;
    let from = usize::try_from(status.offset).unwrap();
    if from >= end {
        return Ok(status);
    }
    drone.client.upload_piece(attempt, digest, status.offset, Bytes::copy_from_slice(&bytes[from..end])).await
}

fn described(bytes: &[u8]) -> DerivationArchive {
    DerivationArchive { digest: Digest::of(bytes), size: bytes.len() as u64 }
}

/// A swarm whose drone has just been asked for a plan.
async fn asked() -> Result<(Swarm, FakeDrone, AttemptId)> {
    let swarm = Swarm::start().await?;
    let drone = swarm.nix_drone("one").await?;
    swarm.nix_profile(&[]).await?;
    swarm.run().await?;
    let attempt = drone.work().await?.attempt;
    Ok((swarm, drone, attempt))
}

/// Reports the plan with an archive. Returns the archive in the next order.
async fn ordered(
    drone: &FakeDrone,
    attempt: AttemptId,
    plan: PlanReport,
    archive: DerivationArchive,
) -> Option<DerivationArchive> {
    let plan = PlanReport { derivations: Some(Box::new(archive)), ..plan };
    assert!(drone.report(attempt, Outcome::Planned { plan }).await.unwrap().accepted);
    drone.build_order().await.unwrap().1.derivations
}

#[tokio::test(flavor = "multi_thread")]
async fn the_derivations_of_a_plan_arrive_in_pieces_and_reach_the_drones_that_build() {
    let world = World::new().unwrap();
    let plan = world.plan().await.unwrap();
    let (swarm, drone, attempt) = asked().await.unwrap();
    let bytes = archive(&world, &plan);
    let half = upload(&drone, attempt, &bytes, bytes.len() / 2).await.unwrap();
    assert_eq!(half, UploadStatus { offset: bytes.len() as u64 / 2, verified: false });
    for _again in 0..2 {
        let whole = upload(&drone, attempt, &bytes, bytes.len()).await.unwrap();
        assert_eq!(whole, UploadStatus { offset: bytes.len() as u64, verified: true });
    }
    let sent = ordered(&drone, attempt, plan.clone(), described(&bytes)).await;
    assert_eq!(sent, Some(described(&bytes)));
    let mut stream = drone.client.artifact(Digest::of(&bytes)).await.unwrap();
    let mut got = Vec::new();
    while let Some(piece) = stream.next().await.unwrap() {
        got.extend(piece);
    }
    let mut count = 0;
    read(&*got, |_, _| count += 1).unwrap();
    assert_eq!(count, plan.packages.iter().filter(|package| package.nix().unwrap().drv.is_some()).count());

    // Drones can do without them, so damage is not a fault.
    let name = Digest::of(&bytes).to_string();
    let file = swarm.state_dir().join("store/sha256").join(&name[..2]).join(&name);
    fs::write(&file, b"damaged").unwrap();
    let audit = swarm.admin.audit().await.unwrap();
    assert_eq!((audit.faults.len(), audit.mended.len()), (0, 1), "{audit:?}");
    assert!(audit.mended[0].contains("the derivations of a plan") && !file.exists(), "{audit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_archive_of_derivations_is_refused_and_the_plan_is_taken_without_it() {
    let world = World::new().unwrap();
    let plan = world.plan().await.unwrap();
    let (swarm, drone, attempt) = asked().await.unwrap();
    let other = UploadRequest { digest: Digest::of(b"x"), size: 1, target: "package".into() };
    let refused = drone.client.begin_upload(attempt, &other).await.unwrap_err().to_string();
    assert!(refused.contains("a plan has no file `package`"), "{refused}");
    for bytes in [b"no archive".to_vec(), archive(&world, &plan)[1..].to_vec()] {
        let refused = upload(&drone, attempt, &bytes, bytes.len()).await.unwrap_err();
        assert_eq!(refused.status(), Some(422), "{refused}");
        assert!(refused.to_string().contains("the derivations were rejected: "), "{refused}");
    }
    // Two archives that are not complete are all that an attempt may leave.
    for _ in 0..2 {
        let bytes = swarm_client::IdempotencyKey::random().unwrap().to_string().into_bytes();
        upload(&drone, attempt, &bytes, 1).await.unwrap();
    }
    assert!(upload(&drone, attempt, b"a third one", 1).await.is_err());
    let stranger = swarm.nix_drone("two").await.unwrap();
    assert!(upload(&stranger, attempt, b"of another drone", 1).await.is_err());
    assert_eq!(ordered(&drone, attempt, plan, described(b"never uploaded")).await, None);
}
