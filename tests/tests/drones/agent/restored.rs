//! A result in the spool whose attempt a restored journal does not know.

use super::*;
use swarm_common::{digest::Digest, id::AttemptId};
use swarm_tests::api::{again, copy, restored};

/// Path and content of the published package.
async fn published(swarm: &Swarm) -> (String, Digest) {
    let seq = swarm.app.engine.read(|s| s.seq);
    assert!(swarm.app.published.reached(seq, LIMIT).await);
    let artifacts = swarm.admin.artifacts(None).await.unwrap();
    let [artifact] = &artifacts[..] else { panic!("{artifacts:?}") };
    let path = artifact.target.portage().unwrap().path();
    let url = format!("{}/binhost/desk/{path}", address(swarm));
    let content = reqwest::get(url).await.unwrap().error_for_status().unwrap().bytes().await.unwrap();
    assert_eq!(Digest::of(&content), artifact.digest);
    (path, artifact.digest)
}

// fault: 52
#[tokio::test]
async fn a_result_that_a_restored_journal_does_not_know_is_taken_back_and_published_at_another_path() {
    let backup = tempfile::tempdir().unwrap();
    let swarm = Swarm::start().await.unwrap();
    let ada = Earlier::enrolled(&swarm).await;
    swarm.planned(&ada).await.unwrap();
    let kept = |config: &mut swarm_orchestrator::config::Config| {
        copy(&config.state_dir, backup.path()).unwrap();
    };
    let swarm = swarm.restart_after(kept).await.unwrap();
    let earlier = Earlier::working(again(&swarm, &ada).unwrap()).await;
    let report = earlier.build();
    // It is published, but the drone never learns of it.
    let (client, attempt) = (&earlier.drone.client, earlier.assignment.attempt);
    assert_eq!(deliver::files(client, &earlier.spool, attempt, &report).await, Delivery::Done);
    assert_eq!(deliver::report(client, &earlier.spool, attempt, &report).await, Delivery::Done);
    let before = published(&swarm).await;

    let swarm = restored(swarm, backup.path()).await.unwrap();
    assert_eq!(swarm.app.engine.read(|s| s.attempts.get(&attempt).cloned()), None);
    let drone = Running::start(config(earlier.dir.path(), &address(&swarm)));
    earlier.is_received(&swarm).await;
    assert_eq!(earlier.ending(&swarm), Some(Ending::Accepted), "nothing was built again");
    let after = published(&swarm).await;
    assert!(after.0 != before.0 && after.1 != before.1, "{before:?} and {after:?}");
    until("the spool is empty", async || {
        entries(earlier.dir.path().join("state/spool")).is_empty().then_some(())
    })
    .await;
    assert_eq!(swarm.admin.audit().await.unwrap().faults, Vec::<String>::new());
    drone.stop().await.unwrap();
}

#[tokio::test]
async fn a_result_that_no_run_of_a_restored_journal_needs_is_discarded() {
    let backup = tempfile::tempdir().unwrap();
    let swarm = Swarm::start().await.unwrap();
    let ada = Earlier::enrolled(&swarm).await;
    let kept = |config: &mut swarm_orchestrator::config::Config| {
        copy(&config.state_dir, backup.path()).unwrap();
    };
    let swarm = swarm.restart_after(kept).await.unwrap();
    let ada = again(&swarm, &ada).unwrap();
    swarm.planned(&ada).await.unwrap();
    let earlier = Earlier::working(ada).await;
    earlier.build();
    let swarm = restored(swarm, backup.path()).await.unwrap();
    let drone = Running::start(config(earlier.dir.path(), &address(&swarm)));
    until("the spool is empty", async || {
        entries(earlier.dir.path().join("state/spool")).is_empty().then_some(())
    })
    .await;
    assert_eq!(swarm.app.engine.read(|s| s.attempts.keys().copied().collect::<Vec<AttemptId>>()), []);
    assert!(swarm.admin.artifacts(None).await.unwrap().is_empty());
    drone.stop().await.unwrap();
}
