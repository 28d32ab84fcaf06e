//! The audit of stored files.

use swarm_tests::api::Swarm;

#[tokio::test]
async fn a_whole_swarm_has_no_faults_and_a_flipped_byte_is_one() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    drone.build().await.unwrap();
    let audit = swarm.admin.audit().await.unwrap();
    assert!(audit.faults.is_empty() && audit.events > 5, "{audit:?}");
    assert_eq!(audit.artifacts, 1);

    let artifact = &swarm.admin.artifacts(None).await.unwrap()[0];
    let path = swarm.app.store.describe(artifact.digest);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let faults = swarm.admin.audit().await.unwrap().faults;
    assert_eq!(faults.len(), 1);
    assert!(faults[0].contains("pebble-1.2-1.gpkg.tar"), "{faults:?}");
}

#[tokio::test]
async fn artifacts_tell_what_was_stored_and_who_built_it() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    let attempt = drone.build().await.unwrap();
    let profile = swarm_tests::api::name(swarm_tests::api::PROFILE);
    let artifacts = swarm.admin.artifacts(Some(&profile)).await.unwrap();
    assert_eq!((artifacts[0].attempt, artifacts[0].drone), (attempt, drone.id));
    assert_ne!(artifacts[0].digest, artifacts[0].uploaded_digest, "what is stored is signed");
    let none = swarm_tests::api::name("none");
    assert_eq!(crate::refused(swarm.admin.artifacts(Some(&none)).await), 404);
}

#[tokio::test]
async fn the_key_is_public_and_absent_where_signing_is_off() {
    let swarm = Swarm::start().await.unwrap();
    let key = swarm.nobody().unwrap().key().await.unwrap();
    assert_eq!(key.fingerprint.len(), 40);
    assert!(key.public_key.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----"));
    assert!(!key.public_key.contains("PRIVATE"));
    let unsigned = Swarm::start_with(|config| config.signing.enabled = false).await.unwrap();
    assert_eq!(crate::refused(unsigned.nobody().unwrap().key().await), 404);
}
