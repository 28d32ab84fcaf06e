//! Reports that are repeated, reordered, stale, or without their files.

use crate::{key, refused};
use std::sync::Arc;
use swarm_common::{
    digest::Digest,
    state::*,
    wire::drone::{Failure, Outcome},
};
use swarm_daemon::config::{Size, Span};
use swarm_tests::api::{Swarm, TestClock, package_for};

fn failed(class: FailureClass) -> Outcome {
    Outcome::Failed {
        failure: Failure {
            class,
            cause: None,
            phase: Phase::Building,
            signature: "s".repeat(5000),
            message: "\u{fc}".repeat(5000),
        },
    }
}

#[tokio::test]
async fn a_report_before_its_upload_is_refused_and_then_taken() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    let (attempt, order) = drone.build_order().await.unwrap();
    let bytes = std::fs::read(swarm_tests::api::package_file(&order.targets[0])).unwrap();
    let artifacts = vec![Digest::of(&bytes)];
    let early = drone.report(attempt, Outcome::Built { artifacts: artifacts.clone() }).await;
    assert_eq!(refused(early), 409);
    drone.upload(attempt, &order.targets[0]).await.unwrap();
    assert!(drone.report(attempt, Outcome::Built { artifacts }).await.unwrap().accepted);
}

// fault: 3
#[tokio::test]
async fn a_repeated_report_gets_the_first_answer_and_changes_nothing() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    let (attempt, order) = drone.build_order().await.unwrap();
    let artifacts = vec![drone.upload(attempt, &order.targets[0]).await.unwrap()];
    let first = drone.report(attempt, Outcome::Built { artifacts: artifacts.clone() }).await.unwrap();
    let stored = swarm.app.store.list().unwrap();
    let received = swarm.admin.artifacts(None).await.unwrap();
    let second = drone.report(attempt, Outcome::Built { artifacts }).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(swarm.app.store.list().unwrap(), stored);
    assert_eq!(swarm.admin.artifacts(None).await.unwrap(), received);
    // A failure that arrives after the success, because the network delayed it, has no effect.
    assert!(drone.report(attempt, failed(FailureClass::Package)).await.unwrap().accepted);
    assert_eq!(swarm.admin.package(order.package).await.unwrap().state, PackageState::Received);
}

#[tokio::test]
async fn two_reports_at_once_store_one_package() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    let (attempt, order) = drone.build_order().await.unwrap();
    let artifacts = vec![drone.upload(attempt, &order.targets[0]).await.unwrap()];
    let built = || drone.report(attempt, Outcome::Built { artifacts: artifacts.clone() });
    let (one, two) = tokio::join!(built(), built());
    assert!(one.unwrap().accepted && two.unwrap().accepted);
    assert_eq!(swarm.app.store.list().unwrap().len(), 1);
}

#[tokio::test]
async fn a_result_that_no_longer_counts_is_told_so_and_may_be_forgotten() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    let run = swarm.planned(&drone).await.unwrap();
    let (attempt, order) = drone.build_order().await.unwrap();
    let artifacts = vec![drone.upload(attempt, &order.targets[0]).await.unwrap()];
    swarm.admin.cancel_run(run, &key()).await.unwrap();
    let reply = drone.report(attempt, Outcome::Built { artifacts }).await.unwrap();
    assert!(!reply.accepted && reply.reason.contains("cancelled"), "{reply:?}");
    assert_eq!(swarm.app.intake.incoming().list().unwrap(), []);
}

// fault: 1
#[tokio::test]
async fn of_a_lost_attempt_and_its_successor_the_first_to_deliver_wins() {
    let clock = Arc::new(TestClock::default());
    let swarm = Swarm::start_at(Some(clock.clone()), |config| {
        config.policy.lease = Some(Span::from_secs(600));
        config.policy.offline_after = Some(Span::from_secs(3600));
    })
    .await
    .unwrap();
    let (slow, fast) = (swarm.drone("slow").await.unwrap(), swarm.drone("fast").await.unwrap());
    swarm.planned(&slow).await.unwrap();
    let (lost, order) = slow.build_order().await.unwrap();
    let artifacts = vec![slow.upload(lost, &order.targets[0]).await.unwrap()];
    clock.forward(600_000);
    // Its lease expires, so another drone gets the package with another build ID.
    let (attempt, order) = fast.build_order().await.unwrap();
    assert_eq!(order.targets[0].portage().unwrap().build_id, 2);
    let late = package_for(&order.targets[0]);
    let late = fast.upload_bytes(attempt, &order.targets[0], late).await.unwrap();
    assert!(slow.report(lost, Outcome::Built { artifacts }).await.unwrap().accepted);
    let reply = fast.report(attempt, Outcome::Built { artifacts: vec![late] }).await.unwrap();
    assert!(!reply.accepted && reply.reason.contains("delivered first"), "{reply:?}");
    assert_eq!(swarm.admin.artifacts(None).await.unwrap().len(), 1);
    assert_eq!(swarm.app.intake.incoming().list().unwrap(), [], "the late file is forgotten");
}

#[tokio::test]
async fn another_drones_attempt_cannot_be_reported() {
    let swarm = Swarm::start().await.unwrap();
    let (one, two) = (swarm.drone("one").await.unwrap(), swarm.drone("two").await.unwrap());
    swarm.planned(&one).await.unwrap();
    let (attempt, _) = one.build_order().await.unwrap();
    for outcome in [
        Outcome::Built { artifacts: vec![Digest::of(b"x")] },
        failed(FailureClass::Package),
        Outcome::HandedBack { reason: "mine".to_owned() },
        Outcome::Planned { plan: swarm_tests::api::plan_of(&[]) },
    ] {
        assert!([403, 422].contains(&refused(two.report(attempt, outcome).await)));
    }
    assert_eq!(swarm.admin.drones().await.unwrap()[0].working_on.len(), 1);
}

#[tokio::test]
async fn the_texts_of_a_failure_are_cut_to_what_the_journal_keeps() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    let (attempt, order) = drone.build_order().await.unwrap();
    drone.report(attempt, failed(FailureClass::Infra)).await.unwrap();
    let view = swarm.admin.package(order.package).await.unwrap();
    let failure = view.attempts[0].failure.as_ref().unwrap();
    assert_eq!((failure.signature.len(), failure.message.len()), (200, 4096));
}

#[tokio::test]
async fn work_that_is_handed_back_is_nobodys_fault() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    let (attempt, order) = drone.build_order().await.unwrap();
    drone.report(attempt, Outcome::HandedBack { reason: "stopped".to_owned() }).await.unwrap();
    drone.report(attempt, Outcome::HandedBack { reason: "stopped".to_owned() }).await.unwrap();
    assert_eq!(swarm.admin.package(order.package).await.unwrap().state, PackageState::Needed);
    assert_eq!(swarm.admin.drones().await.unwrap()[0].strikes, 0);
}

#[tokio::test]
async fn a_package_that_would_break_the_index_of_its_profile_is_refused_by_name() {
    let swarm = Swarm::start_with(|config| config.limits.index_size = Size::from_bytes(100)).await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    let run = swarm.planned(&drone).await.unwrap();
    while !swarm.admin.run(run).await.unwrap().state.is_over() {
        let (attempt, order) = drone.build_order().await.unwrap();
        let bytes = package_for(&order.targets[0]);
        let artifacts = vec![drone.upload_bytes(attempt, &order.targets[0], bytes).await.unwrap()];
        let reply = drone.report(attempt, Outcome::Built { artifacts }).await.unwrap();
        assert!(!reply.accepted && reply.reason.contains("uses 0 of 100 bytes (`index_size`"), "{reply:?}");
    }
    let view = swarm.admin.why("pebble", None).await.unwrap().package;
    assert_eq!(view.state, PackageState::Quarantined);
    let status = swarm.admin.status().await.unwrap();
    let concerns = format!("{:?}", status.concerns);
    assert!(concerns.contains("dev-libs/pebble-1.2") && concerns.contains("`index_size`"), "{concerns}");
    assert!(swarm.admin.artifacts(None).await.unwrap().is_empty());
}
