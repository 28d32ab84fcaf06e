//! Profiles.

use crate::{key, refused};
use swarm_common::{
    digest::Digest,
    wire::admin::{BuilderKind, ProfileRequest},
};
use swarm_tests::api::{PROFILE, Swarm, name};

#[tokio::test]
async fn a_profile_is_made_shown_and_removed() {
    let swarm = Swarm::start().await.unwrap();
    let snapshot = swarm.profile().await.unwrap();
    let view = swarm.admin.profile(&name(PROFILE)).await.unwrap();
    assert_eq!((view.snapshot, view.generation), (snapshot, 0));
    assert_eq!(view.binhost, "/binhost/desk");
    assert_eq!(swarm.admin.profiles().await.unwrap(), [view]);
    swarm.admin.remove_profile(&name(PROFILE), &key()).await.unwrap();
    assert_eq!(refused(swarm.admin.profile(&name(PROFILE)).await), 404);
    assert_eq!(refused(swarm.admin.remove_profile(&name(PROFILE), &key()).await), 404);
}

#[tokio::test]
async fn a_profile_whose_snapshot_is_not_there_is_refused() {
    let swarm = Swarm::start().await.unwrap();
    let request = ProfileRequest {
        builder: BuilderKind::Portage,
        snapshot: Digest::of(b"nowhere"),
        source: "test".to_owned(),
        base: None,
        rebuild: Default::default(),
        publish: Default::default(),
        cpu: Default::default(),
    };
    let error = swarm.admin.put_profile(&name(PROFILE), &request, &key()).await.unwrap_err();
    assert_eq!(error.status(), Some(422));
    assert!(error.to_string().contains("upload it first"), "{error}");
}

#[tokio::test]
async fn a_profile_with_a_run_under_way_stays() {
    let swarm = Swarm::start().await.unwrap();
    swarm.profile().await.unwrap();
    swarm.run().await.unwrap();
    assert_eq!(refused(swarm.admin.remove_profile(&name(PROFILE), &key()).await), 409);
}
